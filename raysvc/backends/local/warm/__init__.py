"""The pool of warm drivers: a program on the cluster that starts short entrypoints without a supervisor for each.

Copied to the work area and run there by Ray's own job server, one pool a project, as the jobs' user; the server never
runs it (it reads the ledger through `ledger`). Only the standard library, and in the pool's memory `ray`, from which
Python entrypoints are forked. One thread: a fork takes nothing along that another thread might hold.

The channel is a Unix socket, `socket` in the pool's folder; a line of JSON each way.

    {"n": 7, "do": "run", "run": {…}}          start a run (`request.Request`), once: an id that is known is left alone
    {"n": 8, "do": "stop", "id": "job-…-1"}    SIGTERM to its process group, SIGKILL after the grace
    {"n": 9, "do": "list"}                     the ids that run now
    {"n": 10, "do": "retire"}                  end, if nothing runs
    {"n": 7, "ok": […]}  {"n": 7, "error": "…"}    the reply
    {"news": "job-…-1", "ended": false}        to everybody: it has begun, or ended

A request whose asker has hung up is not carried out: who asks again is not overtaken by what was asked before. What
became of a run stands in the ledger, in the words of Ray's JobDetails, and outlives the pool.
"""
