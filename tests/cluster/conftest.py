"""Where this machine cannot run the tests of the tier `kube`, that is said aloud."""

import pytest

from tests.cluster import machine


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.getreports("skipped") if "kube" in report.keywords]
    if skipped and (reason := machine.obstacle()):
        line = f"NOT RUN: {len(skipped)} tests on a real Kubernetes, which this machine cannot run: {reason}"
        terminalreporter.write_line(line, red=True, bold=True)
