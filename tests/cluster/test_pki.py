import base64
import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from tests.cluster import pki
from tests.cluster.plan import Addresses, Plan


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = Plan(tmp_path_factory.mktemp("cluster"), Addresses("10.99"))
    pki.make(plan)
    return plan


def _certificate(plan: Plan, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((plan.pki / f"{name}.crt").read_bytes())


@pytest.mark.parametrize("host", ["10.99.0.1", "10.99.64.1", "kubernetes.default.svc"])
def test_the_api_server_is_known_by_all_its_addresses(plan: Plan, host: str) -> None:
    names = _certificate(plan, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {str(name) for name in names.get_values_for_type(x509.IPAddress)}
    assert host in known | set(names.get_values_for_type(x509.DNSName))


def test_every_certificate_is_signed_by_the_one_authority(plan: Plan) -> None:
    authority = _certificate(plan, "ca")
    for identity in pki.identities(plan):
        _certificate(plan, identity.file).verify_directly_issued_by(authority)


def test_a_strict_verifier_takes_the_authority(plan: Plan) -> None:
    certificate = _certificate(plan, "apiserver")
    verifier = PolicyBuilder().store(Store([_certificate(plan, "ca")])).build_server_verifier(x509.DNSName("localhost"))
    assert verifier.verify(certificate, [])[-1] == _certificate(plan, "ca")


def test_a_kubelet_is_a_member_of_the_group_that_the_node_authorizer_asks_for(plan: Plan) -> None:
    subject = _certificate(plan, "gpu-1").subject
    assert [each.value for each in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["system:nodes"]
    assert [each.value for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["system:node:gpu-1"]


def test_the_kubeconfig_works_wherever_it_is_copied(plan: Plan) -> None:
    config = json.loads(plan.kubeconfig.read_text())
    assert str(plan.home) not in plan.kubeconfig.read_text()
    assert config["clusters"][0]["cluster"]["server"] == "https://10.99.0.1:6443"
    shown = base64.b64decode(config["users"][0]["user"]["client-certificate-data"])
    assert shown == (plan.pki / "admin.crt").read_bytes()


def test_keys_are_readable_by_their_owner_alone(plan: Plan) -> None:
    secret = [plan.kubeconfig, *plan.pki.glob("*.key"), *plan.pki.glob("*.kubeconfig")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in secret} == {0o600}


def test_keys_are_made_once(plan: Plan) -> None:
    before = (plan.pki / "ca.key").read_bytes()
    pki.make(plan)
    assert (plan.pki / "ca.key").read_bytes() == before


def test_an_interrupted_start_is_made_whole(tmp_path: Path) -> None:
    plan = Plan(tmp_path)
    plan.pki.mkdir()
    (plan.pki / "ca.key").write_text("half of a key")
    pki.make(plan)
    _certificate(plan, "admin").verify_directly_issued_by(_certificate(plan, "ca"))
