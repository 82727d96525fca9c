"""How fast minigrad is beside PyTorch eager, on the same machine, in the same minutes.

Times drift with whatever else a machine does; ratios drift less, if both sides are hit alike. So every
comparison is a series of pairs: each side is a process of its own, and they take one step in turn,
A B A B ..., while the other waits.

How to read the table: each line is one comparison. "median" and "min" are milliseconds of one step, MB is the
peak memory of the whole process, its libraries included. Then what minigrad took as a multiple of the other
side (below 1: minigrad is faster): the ratio of the medians, of the minima, and the median of the ratios of
each pair. Where the three are far apart the line ends in "disturbed": other work came and went. Other work
that stays shows in no ratio, and still changes them all, since PyTorch's threads, which wait for one another,
suffer most from it: look at the load that is printed first, and measure on an idle machine.

What else was seen to, so that the figures mean something:

- The number of threads is set in the environment before a worker imports NumPy or PyTorch, and through the
  library's own ``set_num_threads`` after that.
- OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are taken out of the workers' environment. Some machines set them, to
  work around old builds of OpenBLAS; they force an old kernel on a current NumPy, too. (A step of ResNet-20 took
  1.3 times as long with the kernel for Haswell on a processor with AVX-512.) The kernel that did run is printed.
- The first steps are not counted: they make buffers, and threads.
- With several threads, a short rest before each step lets the threads of the other side fall asleep.
"""
