"""Worker processes: started, watched, stopped, and never left behind.

A worker is a fresh interpreter with the parent's flags, environment and ``sys.path``; the user's ``__main__``
is not imported in it. Everything that needs processes stands on this package:

- :mod:`cobre.runtime.process`: one worker with its pipes, for whoever gives it one task after another;
- :mod:`cobre.runtime.crew`: workers that run one job together;
- :mod:`cobre.runtime.failure`: what is raised when one of them fails.

Modules are imported where they are needed: a worker loads only its own side.
"""
