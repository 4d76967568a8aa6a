import ipaddress
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from tests.cluster import network
from tests.cluster.fake_nodes import DOMAIN_NODES, fake_node
from tests.cluster.plan import NODES, Addresses, Plan


def test_all_ranges_lie_in_the_block_and_overlap_nowhere() -> None:
    addresses = Addresses("10.99")
    block = ipaddress.IPv4Network(addresses.everything)
    ranges = [ipaddress.IPv4Network(each) for each in (addresses.services, addresses.pods)]
    machines = ipaddress.IPv4Network("10.99.0.0/24")
    assert all(each.subnet_of(block) for each in ranges)
    assert not any(one.overlaps(other) for one, other in combinations([*ranges, machines], 2))
    assert all(ipaddress.IPv4Address(addresses.node(node.index)) in machines for node in NODES)


def test_each_node_has_pods_of_its_own() -> None:
    addresses = Addresses()
    own = [ipaddress.IPv4Network(addresses.pods_of(node.index)) for node in NODES]
    pods = ipaddress.IPv4Network(addresses.pods)
    assert not any(
        one.overlaps(other) for one, other in combinations([*own, ipaddress.IPv4Network(addresses.fake_pods)], 2)
    )
    assert all(each.subnet_of(pods) for each in own)


def test_the_api_server_is_the_first_address_of_the_services() -> None:
    addresses = Addresses()
    assert next(ipaddress.IPv4Network(addresses.services).hosts()) == ipaddress.IPv4Address(addresses.api_service)


@pytest.mark.parametrize("block", ["10", "10.1.2", "10.300", "ten.one", ""])
def test_a_block_that_is_no_slash_16_is_refused(block: str) -> None:
    with pytest.raises(ValueError, match="first two numbers"):
        Addresses(block)


def test_clusters_of_two_blocks_share_no_name() -> None:
    one, other = Plan(Path("/one")), Plan(Path("/other"), Addresses("10.214"))
    assert one.name != other.name
    assert one.addresses.loopback != other.addresses.loopback
    assert {network.namespace(one, node) for node in NODES}.isdisjoint(network.namespace(other, node) for node in NODES)


def test_names_of_interfaces_are_short_enough_for_linux() -> None:
    plan = Plan(addresses=Addresses("10.255"))
    assert all(len(network.cable(plan, node)) <= 15 for node in plan.nodes)


def test_fake_nodes_differ_and_fill_one_domain_after_the_other() -> None:
    nodes = [fake_node(index) for index in range(2 * DOMAIN_NODES + 1)]
    domains = [node["metadata"]["labels"]["nvidia.com/gpu.clique"] for node in nodes]
    assert len({node["metadata"]["name"] for node in nodes}) == len(nodes)
    assert [domains.count(domain) for domain in dict.fromkeys(domains)] == [DOMAIN_NODES, DOMAIN_NODES, 1]
    assert sum(one != other for one, other in pairwise(domains)) == 2
