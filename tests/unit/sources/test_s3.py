"""Models in S3, and whose credentials go along."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raysvc.errors import Invalid
from raysvc.planner.safetensors import INDEX
from raysvc.sources.access import S3Keys, access_of, sign_s3
from raysvc.sources.remote import fetcher_of, remote_source
from tests.unit.planner.checkpoint import LLAMA, llama_tensors, write
from tests.unit.sources.mirror import Answer, ranged, serving


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny", LLAMA, llama_tensors(), shards=2)


def test_s3_is_asked_with_a_signature_and_says_403_for_what_is_not_there(folder: Path) -> None:
    def behave(path: str, headers: Mapping[str, str]) -> Answer | None:
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIA/")
        known = ranged(folder, path, headers)
        return (403, {}, b"") if known[0] == 404 else None

    (folder / INDEX).unlink()
    with serving(folder, behave) as mirror:
        environment = {"AWS_ENDPOINT_URL_S3": mirror.url, "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}
        known = access_of(environment, credentials=True)
        with fetcher_of(known) as fetcher:
            source = remote_source("s3://models/ann/tiny/", known, fetcher, lambda: datetime.now(UTC))
            assert source.size("config.json")
            assert source.size(INDEX) is None
            assert mirror.asked[0][0] == "/models/ann/tiny/config.json"
            (folder / "config.json").unlink()
            denied = remote_source("s3://models/ann/tiny", known, fetcher, lambda: datetime.now(UTC))
            with pytest.raises(Invalid, match="AWS keys"):
                denied.size("config.json")


def test_the_signature_is_that_of_awss_example() -> None:
    # docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "GET Bucket Lifecycle": the one of its
    # examples without a header of its own.
    keys = S3Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    at = datetime(2013, 5, 24, tzinfo=UTC)
    headers = sign_s3("https://examplebucket.s3.amazonaws.com/?lifecycle=", keys, "us-east-1", at)
    assert headers["authorization"].endswith(
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )


def test_a_servers_own_credentials_do_not_go_along() -> None:
    environment = {
        "HF_TOKEN": "hf_secret",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_REGION": "eu-central-1",
    }
    mine, servers = (access_of(environment, credentials=each) for each in (True, False))
    assert (mine.hf_token, mine.s3_keys) == ("hf_secret", S3Keys("AKIA", "s3cret"))
    assert (servers.hf_token, servers.s3_keys, servers.s3_region) == (None, None, "eu-central-1")
    assert servers.trusted == frozenset()
    assert "s3cret" not in repr(mine)
    assert "hf_secret" not in repr(mine)
