"""Which addresses a URL of users may not lead to, unless allowed. An own table: Python's varies by its version."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# IANA's special-purpose registry (RFC 6890 and successors), multicast and reserved included.
_NOT_PUBLIC_4 = {
    IPv4Network("0.0.0.0/8"): "this host",
    IPv4Network("10.0.0.0/8"): "a private network",
    IPv4Network("100.64.0.0/10"): "a provider's private network",
    IPv4Network("127.0.0.0/8"): "loopback",
    # Azure's wire server answers instances at a public address.
    IPv4Network("168.63.129.16/32"): "a cloud's metadata service",
    IPv4Network("169.254.0.0/16"): "link-local, with a cloud's metadata service",
    IPv4Network("172.16.0.0/12"): "a private network",
    IPv4Network("192.0.0.0/24"): "reserved, with a cloud's metadata service",
    IPv4Network("192.0.2.0/24"): "for documentation",
    IPv4Network("192.88.99.0/24"): "reserved",
    IPv4Network("192.168.0.0/16"): "a private network",
    IPv4Network("198.18.0.0/15"): "for benchmarks",
    IPv4Network("198.51.100.0/24"): "for documentation",
    IPv4Network("203.0.113.0/24"): "for documentation",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}
# Of IPv6 only 2000::/3 is public at all, and in it not these.
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = (IPv6Network("2001::/23"), IPv6Network("2001:db8::/32"), IPv6Network("3fff::/20"))
# These carry an IPv4 address in their last 32 bits: NAT64, and the deprecated compatible form.
_CARRIERS = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))


def forbidden(address: str) -> str | None:
    """Return what the address is where it is not a public one, None where it is."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        carried = _carried(parsed)
        if carried is None:
            public = parsed in _PUBLIC_6 and not any(parsed in network for network in _NOT_PUBLIC_6)
            return None if public else "loopback" if parsed.is_loopback else "a private or reserved address"
        parsed = carried
    return next((words for network, words in _NOT_PUBLIC_4.items() if parsed in network), None)


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address.is_loopback:
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if any(address in network for network in _CARRIERS):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None
