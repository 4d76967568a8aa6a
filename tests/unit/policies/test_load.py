"""Policy files that are wrong: each error names file, line, rule and field, and says what to do."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from raysvc.errors import Invalid
from raysvc.policies import PolicyFile, load, read
from raysvc.policies import __doc__ as the_format
from raysvc.policies.document import PolicyDocument

HEAD = "policy: p\nrules:\n- name: r\n"

ERRORS: dict[str, tuple[str, int, str]] = {
    "not YAML": ("policy: [", 1, "is not YAML: expected the node content"),
    "a tab": ("policy: p\n\trules: []", 2, "found character '\\t'"),
    "nothing": ("", 1, "is not a policy file"),
    "a list": ("- a", 1, "is not a policy file"),
    "no name": ("rules: []", 1, "policy: is missing"),
    "bad name": ("policy: 'a b'", 1, "policy: must be 1 to 63 letters"),
    "unknown field": ("policy: p\nruls: []", 2, "ruls: is not a field here; did you mean 'rules'?"),
    "unknown field of a rule": (
        HEAD + "  wen: 'true'\n  deny: true\n  message: m",
        4,
        "rule r, wen: is not a field here; did you mean 'when'? There are name, when, deny, warn, set",
    ),
    "no effect": (HEAD + "  when: 'true'\n  message: m", 3, "rule r: give exactly one of `deny: true`"),
    "two effects": (HEAD + "  deny: true\n  warn: true\n  message: m", 3, "rule r: give exactly one of"),
    "text as effect": (HEAD + "  deny: Too many GPUs.", 4, "rule r, deny: is the effect, so write `deny: true`"),
    "no message": (HEAD + "  deny: true", 3, "rule r: needs a `message`"),
    "a rule without a name": ("policy: p\nrules:\n- deny: true", 3, "rule number 1, name: is missing"),
    "a rule that is text": ("policy: p\nrules:\n- deny", 3, "rule number 1: Input should be"),
    "two rules of a name": (
        HEAD + "  deny: true\n  message: m\n- name: r\n  warn: true\n  message: m",
        1,
        "two rules or webhooks are named r",
    ),
    "a key twice": (HEAD + "  when: project == 'a'\n  when: 'true'\n  deny: true", 5, "'when' is given twice"),
    "an unquoted !": (HEAD + "  when: !has(job.name)\n", 4, "put the expression in quotes"),
    "a quote too early": (HEAD + '  when: "a" in job.labels\n', 4, "put the whole expression in the other quotes"),
    "a colon in a text": (HEAD + "  message: no: never\n", 4, "put the text in quotes"),
    "a message that YAML reads": (HEAD + "  deny: true\n  message: no", 5, "rule r, message: must be text, and YAML"),
    "an expression that ends": (
        HEAD + "  deny: true\n  message: m\n  when: job.demand.gpus >",
        6,
        "rule r, when: syntax error at column 18: the expression ends too early\n    job.demand.gpus >\n"
        + " " * 21
        + "^",
    ),
    "the second line of an expression": (
        HEAD + "  deny: true\n  message: m\n  when: |\n    project == 'a'\n      && & job.priority > 1",
        8,
        "rule r, when: syntax error at line 2, column 6",
    ),
    "optional syntax": (HEAD + "  deny: true\n  message: m\n  when: job.?name", 6, "unsupported syntax '.?'"),
    "has of nothing": (HEAD + "  deny: true\n  message: m\n  when: has(job)", 6, "invalid argument to has() macro"),
    "an unknown variable": (
        HEAD + "  deny: true\n  message: m\n  when: projct == 'a'",
        6,
        "does not know 'projct'. Did you mean 'project'?",
    ),
    "a text without quotes of its own": (
        HEAD + "  set:\n    priority: 1\n    labels.team: research",
        6,
        "rule r, set.labels.team: does not know 'research'. A text needs quotes of its own inside: '\"research\"'.",
    ),
    "an unknown function": (
        HEAD + "  deny: true\n  message: m\n  when: project.startswith('a')",
        6,
        "does not know the function 'startswith'. Did you mean 'startsWith'?",
    ),
    "an unknown field of a job": (
        HEAD + "  deny: true\n  message: m\n  when: job.prority > 1",
        6,
        "job has no field 'prority'. Did you mean 'priority'?",
    ),
    "an unknown field of a field": (
        HEAD + "  deny: true\n  message: m\n  when: has(job.demand) && job.demand.gpu > 1",
        6,
        "job.demand has no field 'gpu'. Did you mean 'gpus'?",
    ),
    "a field of a job in a message": (HEAD + "  deny: true\n  message: 'a {job.nam}'", 5, "job has no field 'nam'"),
    "an open brace": (HEAD + "  deny: true\n  message: 'a {b'", 5, "has a '{' without its pair; write {{"),
    "not a condition": (
        HEAD + "  deny: true\n  message: m\n  when: job.priority",
        6,
        "must be true or false, and gives '0'",
    ),
    "types that never fit": (
        HEAD + "  deny: true\n  message: m\n  when: job.demand.gpus + 1 > 8",
        6,
        "rule r, when: fails for any job: Unsupported operation: float + int",
    ),
    "types that never fit in a set": (
        HEAD + "  set: {priority: project + 1}",
        4,
        "rule r, set: fails for any job: Unsupported operation: string + int",
    ),
    "a bad pattern": (
        HEAD + "  deny: true\n  message: m\n  when: project.matches('(')",
        6,
        "fails for any job: Function 'matches' error: '(' not a valid regex",
    ),
    "a long expression": (
        HEAD + f"  deny: true\n  message: m\n  when: {'true && ' * 300}true",
        6,
        "longer than 2000 characters; split it",
    ),
    "an empty set": (HEAD + "  set: {}", 4, "rule r, set: Dictionary should have at least 1 item"),
    "a list in a set": (HEAD + "  set: {labels: [a]}", 4, "rule r, set.labels"),
    "a webhook without key": (
        "policy: p\nwebhooks:\n- name: h\n  url: https://a.b",
        3,
        "webhook h, secret_file: is missing",
    ),
    "a webhook by http": (
        "policy: p\nwebhooks:\n- {name: h, url: 'http://a.b', secret_file: k}",
        3,
        "webhook h: plain http:// is for private networks",
    ),
    "a webhook elsewhere": (
        "policy: p\nwebhooks:\n- {name: h, url: 'file:///etc/passwd', secret_file: k}",
        3,
        "webhook h, url: must be an https:// address",
    ),
    "a webhook with a password": (
        "policy: p\nwebhooks:\n- {name: h, url: 'https://u:hunter2@a.b', secret_file: k}",
        3,
        "webhook h, url: must not hold a user or password",
    ),
    "a webhook that never ends": (
        "policy: p\nwebhooks:\n- {name: h, url: 'https://a.b', secret_file: k, timeout_s: 3600}",
        3,
        "webhook h, timeout_s: Input should be less than or equal to 30",
    ),
    "an alias of itself": ("policy: p\nrules: &a [*a]", 2, "rule number 1"),
    "a date that is none": ("policy: p\ndescription: 2024-13-45", 1, "is not YAML for a policy file: month must be"),
}


@pytest.mark.parametrize(("text", "line", "says"), ERRORS.values(), ids=ERRORS)
def test_an_error_says_where_and_what(tmp_path: Path, text: str, line: int, says: str) -> None:
    file = tmp_path / "gpu.yaml"
    file.write_text(text)
    with pytest.raises(Invalid) as caught:
        read([file])
    assert f"{file}:{line}: " in caught.value.message
    assert says in caught.value.message
    assert caught.value.field == str(file)
    assert "hunter2" not in caught.value.message


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "gpu.yaml"
    file.write_text("policy: p\nmod: warn\nrules:\n- name: a b\n  deny: yes please\n- name: c\n")
    with pytest.raises(Invalid) as caught:
        read([file])
    lines = caught.value.message.splitlines()
    assert [line.removeprefix(f"{file}:").split(":")[0] for line in lines] == ["4", "5", "6", "2"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"policy: \xff\n", "1: is not UTF-8"),
        (b"#" * (1 << 20) + b"#", "1: is larger than 1 MiB"),
        (b"policy: p\0", "is not YAML"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "gpu.yaml"
    file.write_bytes(content)
    with pytest.raises(Invalid, match=r"gpu\.yaml:1: ") as caught:
        read([file])
    assert says in caught.value.message


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"gone\.yaml: cannot be read: No such file or directory"):
        read([tmp_path / "gone.yaml"])


def test_a_file_full_of_aliases_is_read_in_no_time(tmp_path: Path) -> None:
    levels = "\n".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40))
    (tmp_path / "bomb.yaml").write_text(f"policy: p\nrules:\n- &a0 [x]\n{levels}\n")
    with pytest.raises(Invalid, match="rule number 1"):
        read([tmp_path])


def test_two_files_of_one_name_are_refused_with_both_paths(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("policy: same")
    with pytest.raises(Invalid, match=r"b\.yaml:1: policy: 'same' is the name of .*a\.yaml too"):
        read([tmp_path])


def test_a_folder_is_read_by_name_and_only_its_visible_yaml(tmp_path: Path) -> None:
    for number, name in enumerate(["b.yml", "a.yaml", ".hidden.yaml", "c.yaml.bak", "README.md"]):
        (tmp_path / name).write_text(f"policy: p{number}")
    assert [file.path.name for file in read([tmp_path])] == ["a.yaml", "b.yml"]


@pytest.mark.parametrize("missing", ["no such file", "empty", "ca"])
def test_a_webhook_without_a_usable_key_or_authority_does_not_load_but_can_be_read(
    tmp_path: Path, clock: object, missing: str
) -> None:
    hook = "{name: h, url: 'https://a.b', secret_file: hook.key, ca_file: ca.pem}"
    (tmp_path / "a.yaml").write_text(f"policy: p\nwebhooks:\n- {hook}\n")
    if missing != "no such file":
        (tmp_path / "hook.key").write_text("" if missing == "empty" else "s3cret")
    assert read([tmp_path])
    with pytest.raises(Invalid) as caught:
        load([tmp_path], clock)  # type: ignore[arg-type]
    says = {
        "no such file": "webhook h: secret_file",
        "empty": "is empty; put a random key into it",
        "ca": "ca.pem cannot be used: No such file or directory",
    }
    assert says[missing] in caught.value.message
    assert "s3cret" not in caught.value.message


def test_the_documented_example_is_valid(tmp_path: Path) -> None:
    assert the_format is not None
    example = dedent(the_format[the_format.index("    policy: gpu-rules") : the_format.index("\nExpressions know")])
    (tmp_path / "example.yaml").write_text(example)
    [file] = read([tmp_path])
    document = PolicyDocument.model_validate(yaml.safe_load(example))
    assert file.document == document
    assert [rule.name for rule in file.rules] == ["at-most-8-gpus", "cost-center", "research-defaults"]
    named = set(yaml.safe_load(example)["rules"][0] | yaml.safe_load(example)["rules"][2])
    fields = {field.get("name", name) for name, field in _schema("RuleDocument").items()}
    assert named | {"warn"} == fields, "the example shows every field of a rule"
    assert set(yaml.safe_load(example)["webhooks"][0]) == set(_schema("WebhookDocument"))


def _schema(name: str) -> dict[str, dict[str, object]]:
    properties: dict[str, dict[str, object]] = PolicyDocument.model_json_schema()["$defs"][name]["properties"]
    return properties


def test_loading_through_the_fixture_shares_one_view(policies: Callable[..., tuple[PolicyFile, ...]]) -> None:
    files = policies("policy: a", "policy: b")
    assert files[0].views is files[1].views
