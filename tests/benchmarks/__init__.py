r"""How fast minigrad is beside PyTorch eager, on the same machine, in the same minutes.

    python -m tests.benchmarks               the table: minigrad against the others
    python -m tests.benchmarks --figure      the same, and a figure of it: a bar for each row
    python -m tests.benchmarks --growth      how time and memory grow with the batch, the depth, and the steps
    python -m tests.benchmarks --memory      what recompute saves, and what it costs
    python -m tests.benchmarks --roofline    each convolution of two nets, as a share of what matrix products reach
    python -m tests.benchmarks.many          one run on many processes: what it costs, and how it would scale

Times drift with whatever else a machine does; ratios drift less, if both sides are hit alike. So every comparison
is a series of rounds: each side is a process of its own, and they take one step in turn, A B C A B C ..., while the
others wait.

How to read the table: "median" and "min" are milliseconds of one step, MB is the peak memory of the whole process, its
libraries included. On the line of another side stands what minigrad takes as a multiple of it (below 1: minigrad is
faster): the median of the ratios of each round, the ratio of the medians, and of the minima; then the ratio of the
peaks of memory. Behind a ratio with two bounds stands what became of them: "1.1 met (1.2/1.4)" is below the aim, 1.2,
"near" is between the aim and the limit, "ABOVE" above both; for the time it is the ratio of the rounds that counts.
Where the three ratios are far apart the line ends in "disturbed": other work came and went. Other work that
stays shows in no ratio, and still changes them all, since PyTorch's threads, which wait for one another, suffer
most from it: look at the load that is printed first, and measure on an idle machine.

What else was seen to, so that the figures mean something:

- The number of threads is set in the environment before a worker imports NumPy or PyTorch, and through the
  library's own ``set_num_threads`` after that.
- The kernels that run on both sides are printed first, and so is every setting of the environment that chooses them.
  Some machines set OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, to work around old builds of OpenBLAS; they force an old
  kernel on a current NumPy, too. (A step of ResNet-20 took 1.3 times as long with the kernel for Haswell on a
  processor with AVX-512.) Nobody takes them away silently. To see what NumPy can do:
  ``env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python -m tests.benchmarks``.
- The first steps are not counted: they make buffers, and threads.
- With several threads, a short rest before each step lets the threads of the other sides fall asleep.
- ResNet-50 is the paper's on both sides: stride in the first 1x1 convolution of a block. Neither side folds batch norm
  into convolutions; "-folded" is minigrad after ``nn.fold_batch_norm``, beside the same unfolded PyTorch.

``--peers`` compares the step of ResNet-20 with compiled ones, too (torch.compile, which needs g++, and JAX under jit),
and with the other frameworks on NumPy. Each is taken from where it is installed: here, or in the environment of an
interpreter that is named. The frameworks on NumPy need an older one (and Chainer's setup an older setuptools; DeZero
imports matplotlib and pillow), so they have an environment of their own:

    python3.11 -m venv old
    old/bin/pip install "setuptools<81" wheel
    old/bin/pip install --no-build-isolation "numpy<2" chainer==7.8.1 mygrad==2.5.0 dezero==0.0.13 matplotlib pillow \
        threadpoolctl
    python3.11 -m venv jax
    jax/bin/pip install jax==0.10.2
    python -m tests.benchmarks --only resnet20-compiled resnet20-numpy --peers old/bin/python jax/bin/python

Look at the kernels that the last lines name. OpenBLAS 0.3.23, which NumPy 1.26 brings along, takes newer processors for
very old ones ("kernel Prescott"), and its products then take four times as long. OPENBLAS_CORETYPE=SkylakeX (or
Haswell) before the command gives all sides the same kernel.

``--from`` shows again what ``--json`` wrote, several files as one table: ``--from table.json --markdown --figure`` is
how docs/performance.md is made.

To read the source: `cases` says what is measured, `on_minigrad` and `on_torch` are the two sides' steps, `rounds` takes
them in turn and `worker` is the process that takes them.
"""
