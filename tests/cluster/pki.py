"""Certificates and kubeconfigs: one authority, made anew for each cluster, which signs all."""

import base64
import datetime as dt
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster.plan import Plan

_VALID = dt.timedelta(days=365)
_SKEW = dt.timedelta(hours=1)
_SIGNS = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Identity:
    """Whom a certificate names: for the API server its name is the user, its organisation the user's group."""

    file: str
    name: str
    organisation: str | None = None
    hosts: tuple[str, ...] = ()

    @property
    def subject(self) -> x509.Name:
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, self.name)]
        if self.organisation:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.organisation))
        return x509.Name(attributes)


def identities(plan: Plan) -> list[Identity]:
    addresses = plan.addresses
    names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
    api_hosts = (addresses.host, addresses.api_service, *names, "kubernetes.default.svc.cluster.local")
    return [
        Identity("apiserver", "kube-apiserver", hosts=api_hosts),
        Identity("kubelet-client", "apiserver-kubelet-client", "system:masters"),
        Identity("front-proxy", "front-proxy"),
        Identity("admin", "admin", "system:masters"),
        Identity("controllers", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler"),
        Identity("proxy", "system:kube-proxy"),
        *(
            Identity(node.name, f"system:node:{node.name}", "system:nodes", (addresses.node(node.index), node.name))
            for node in plan.nodes
        ),
    ]


def make(plan: Plan) -> None:
    """Write keys, certificates and one kubeconfig for each identity, unless that was done before."""
    if plan.kubeconfig.exists():
        return
    plan.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority_key = _new_key(plan.pki / "ca.key")
    authority = _certificate(Identity("ca", f"{plan.name} authority"), authority_key, None, authority_key)
    _write(plan.pki / "ca.crt", authority.public_bytes(Encoding.PEM))
    tokens = _new_key(plan.pki / "tokens.key")
    _write(plan.pki / "tokens.pub", tokens.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for identity in identities(plan):
        key = _new_key(plan.pki / f"{identity.file}.key")
        certificate = _certificate(identity, key, authority.subject, authority_key)
        _write(plan.pki / f"{identity.file}.crt", certificate.public_bytes(Encoding.PEM))
        _write(kubeconfig_of(plan, identity.file), kubeconfig(plan, identity.file).encode())
    _write(plan.kubeconfig, kubeconfig(plan, "admin").encode())  # last: it says that all is there


def kubeconfig_of(plan: Plan, file: str) -> Path:
    return plan.pki / f"{file}.kubeconfig"


def kubeconfig(plan: Plan, file: str) -> str:
    """Return one that holds its certificates, so that it may be copied elsewhere."""

    def inline(name: str) -> str:
        return base64.b64encode((plan.pki / name).read_bytes()).decode()

    name = f"raysvc-test-{plan.name}"
    server = {"server": plan.api_url, "certificate-authority-data": inline("ca.crt")}
    user = {"client-certificate-data": inline(f"{file}.crt"), "client-key-data": inline(f"{file}.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": server}],
        "users": [{"name": file, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": file}}],
        "current-context": name,
    }
    return json.dumps(config, indent=1)


def _certificate(
    identity: Identity,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name | None,
    signer: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """Sign one; without an issuer it is the authority itself."""
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(identity.subject)
        .issuer_name(issuer or identity.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    # Python 3.13's ssl verifies strictly: what RFC 5280 wants of a certificate must be in it.
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(identifier, critical=False)
    if issuer is None:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        builder = builder.add_extension(_SIGNS, critical=True)
    else:
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(uses, critical=False)
    if identity.hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(_general_names(identity.hosts)), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _general_names(hosts: Iterable[str]) -> Iterable[x509.GeneralName]:
    for host in hosts:
        try:
            yield x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            yield x509.DNSName(host)


def _new_key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    # SEC1, not PKCS8: kube-apiserver's parser of token keys takes both, older clients only this.
    _write(file, key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return key


def _write(file: Path, content: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(content)
