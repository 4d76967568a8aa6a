"""The control plane under seeded faults, on virtual time: one seed, one history, the same each time.

What runs is the real `Platform` (intake, desk, scheduler, reconciler, archive, lease, housekeeping), once or twice,
on one store in memory and one fake cluster. What is made up is all around it: the clock, the network between the
three, clients, and what goes wrong. The modules, in the order in which they are best read:

    loop      virtual time; processes that can be frozen or killed between any two steps
    plan      a seed becomes what clients ask for, when, and what goes wrong, when
    gate      the way from a process to the store and the cluster: slow, refusing, losing replies, deadly
    world     the store, the cluster, the servers on them, and each operation of a plan
    audit     what must hold at each change, as it is made
    verdict   what must hold when the faults are over and time has gone on
    run       one seed: a plan carried out, a trace, the violations; and a failing plan made small

`python -m tests.simulate --seeds 100000` runs many; `--seed N --trace` shows one. See `__main__`.
"""
