"""The exercises and milestones of the course: tasks, checks, solutions; and ``python -m docs.exercises``.

- ``chapter_01.py`` and so on contain the tasks of each chapter: functions without a body. The pages of the course show
  these files, and students work on a copy of them. ``mine.py`` contains the tasks of all milestones.
- ``checks/chapter_01.py`` contains a function ``check_NAME(work)`` for each task. It calls the function NAME of the
  student's file and raises an AssertionError that says in numbers what is wrong. Its docstring is the hint: how to
  think about the task. ``checks/mine_02.py`` checks the milestone of chapter 2.
- ``solutions/`` contains one solution of each task.

``checking.py`` runs checks with a time limit, each file in a process of its own (``worker.py``); ``grading.py`` makes
the table of a class.
"""
