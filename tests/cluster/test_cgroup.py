from pathlib import Path

from tests.cluster.cgroup import Group, Hierarchy, hierarchies, remember, remembered

_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime shared:9 - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
_MEMBERSHIPS = """\
9:name=systemd:/user.slice
5:cpuset:/
4:memory:/not-mounted
1:cpu,cpuacct:/a/b
0::/v2
"""


def test_hierarchies_are_those_of_v1_that_are_mounted() -> None:
    assert list(hierarchies(_MEMBERSHIPS, _MOUNTS)) == [
        Hierarchy("none,name=systemd", Path("/sys/fs/cgroup/systemd/user.slice")),
        Hierarchy("cpuset", Path("/sys/fs/cgroup/cpuset")),
        Hierarchy("cpu,cpuacct", Path("/sys/fs/cgroup/cpu,cpuacct/a/b")),
    ]


def test_a_machine_with_cgroup_v2_alone_has_none() -> None:
    assert list(hierarchies("0::/init.scope\n", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")) == []


def test_a_group_is_where_it_was_remembered(tmp_path: Path) -> None:
    noted = Group("x", [Hierarchy("pids", tmp_path)])
    remember(noted, tmp_path / "home" / "cgroups.json")
    assert remembered("x", tmp_path / "home" / "cgroups.json") == noted


def test_a_note_of_an_earlier_boot_is_ignored_and_asking_leaves_no_trace(tmp_path: Path) -> None:
    file = tmp_path / "cgroups.json"
    unnoted = remembered("x", file)
    assert not file.exists()
    remember(Group("x", [Hierarchy("pids", tmp_path / "gone")]), file)
    assert remembered("x", file) == unnoted


def test_the_end_of_what_never_began_is_no_error(tmp_path: Path) -> None:
    group = Group("x", [Hierarchy("pids", tmp_path)])
    group.end()
    assert group.processes() == set()
