"""Which addresses count as one client.

Invariants: pure; an address that nobody can read counts as it is.
"""

from __future__ import annotations

import ipaddress

_HOST_BITS = 64


def client_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the first 64 bits of IPv6, since one machine has all."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        if not parsed.is_loopback:
            return str(ipaddress.ip_network((int(parsed) >> _HOST_BITS << _HOST_BITS, _HOST_BITS)))
    return str(parsed)
