"""What a job does, and the marks that it leaves of itself."""

import shlex

from tests.chaos.history import Plan

# Writes a mark at its beginning and end, and tells by a lock of its own whether another attempt of its job is alive:
# the kernel lets go of it with the last of an attempt's processes, however they end.
_SCRIPT = """\
d=$TMPDIR/chaos; mkdir -p $d; exec 9>>$d/{tag}.lock
mark() {{ echo "$1 {tag} $RAYSVC_ATTEMPT $$ $2 $(date +%s%N)" >>$d/marks; }}
flock -n 9 || mark overlap 0
mark begin 0
trap 'mark end $?' EXIT; trap 'exit 143' TERM
[ "$(cat what 2>/dev/null)" = "{package}" ] || mark foreign 0
i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo "{tag} $RAYSVC_ATTEMPT $i"; {pause}; done
sleep {long} 9>&-
[ $RAYSVC_ATTEMPT -gt {fails} ] || exit 7
"""


def entrypoint_of(plan: Plan, *, pause_s: float = 0.0, long_s: float = 0.0) -> str:
    """Return the shell command of a job that does what the plan says and leaves marks of it."""
    script = _SCRIPT.format(
        tag=plan.tag,
        package=plan.package,
        lines=plan.lines,
        pause=f"sleep {pause_s:g} 9>&-" if pause_s else ":",
        long=f"{long_s:g}",
        fails=plan.fails,
    )
    return f"sh -c {shlex.quote(script)}"
