"""Which addresses and which URLs the server may dial when somebody else names them. Rules only: nothing is resolved.

The list is written out and not left to `ipaddress`: what that calls global differs between versions of Python, takes in
addresses in which an IPv4 address is hidden, and knows nothing of what clouds put behind addresses of the public range.
Sources: the RFCs named beside each network; the clouds' own documentation for theirs.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

from yarl import URL

Address: TypeAlias = IPv4Address | IPv6Address

URL_CHARACTERS: Final = 2_048

NOT_PUBLIC_V4: Final = (
    IPv4Network("0.0.0.0/8"),  # RFC 1122: this network; 0.0.0.0 reaches the machine itself
    IPv4Network("10.0.0.0/8"),  # RFC 1918: private
    IPv4Network("100.64.0.0/10"),  # RFC 6598: behind a carrier's NAT; one cloud's metadata at 100.100.100.200
    IPv4Network("127.0.0.0/8"),  # RFC 1122: loopback
    IPv4Network("168.63.129.16/32"),  # Azure: its host's agent and name server
    IPv4Network("169.254.0.0/16"),  # RFC 3927: link-local; the clouds' metadata at 169.254.169.254
    IPv4Network("172.16.0.0/12"),  # RFC 1918: private
    IPv4Network("192.0.0.0/24"),  # RFC 6890: protocol assignments; one cloud's metadata at 192.0.0.192
    IPv4Network("192.0.2.0/24"),  # RFC 5737: documentation
    IPv4Network("192.88.99.0/24"),  # RFC 7526: relays to 6to4, given up
    IPv4Network("192.168.0.0/16"),  # RFC 1918: private
    IPv4Network("198.18.0.0/15"),  # RFC 2544: benchmarks
    IPv4Network("198.51.100.0/24"),  # RFC 5737: documentation
    IPv4Network("203.0.113.0/24"),  # RFC 5737: documentation
    IPv4Network("224.0.0.0/4"),  # RFC 5771: multicast
    IPv4Network("240.0.0.0/4"),  # RFC 1112: reserved; RFC 919: broadcast
)
NOT_PUBLIC_V6: Final = (
    IPv6Network("::/96"),  # RFC 4291 2.5: unspecified, loopback, and IPv4-compatible, given up
    IPv6Network("::ffff:0:0/96"),  # RFC 4291 2.5.5.2: IPv4-mapped: the IPv4 address itself, under another name
    IPv6Network("::ffff:0:0:0/96"),  # RFC 2765: IPv4-translated, given up
    IPv6Network("64:ff9b::/96"),  # RFC 6052: translated to any IPv4 address
    IPv6Network("64:ff9b:1::/48"),  # RFC 8215: the same, within a network
    IPv6Network("100::/64"),  # RFC 6666: discarded
    IPv6Network("2001::/23"),  # RFC 2928: protocol assignments; Teredo, RFC 4380, is 2001::/32
    IPv6Network("2001:db8::/32"),  # RFC 3849: documentation
    IPv6Network("2002::/16"),  # RFC 3056: 6to4: routed to the IPv4 address inside
    IPv6Network("3fff::/20"),  # RFC 9637: documentation
    IPv6Network("5f00::/16"),  # RFC 9602: segment routing
    IPv6Network("fc00::/7"),  # RFC 4193: unique local; one cloud's metadata at fd00:ec2::254
    IPv6Network("fe80::/10"),  # RFC 4291 2.5.6: link-local
    IPv6Network("fec0::/10"),  # RFC 3879: site-local, given up
    IPv6Network("ff00::/8"),  # RFC 4291 2.7: multicast
)
GLOBAL_V6: Final = IPv6Network("2000::/3")
"""All that was ever given out, RFC 4291 2.4: the rest is reserved, whether it is listed above or not."""

WEB_PORTS: Final = frozenset({80, 443})
FIRST_FREE_PORT: Final = 1_024
"""Below it, ports are of services that are not ours to talk to, the web's two apart."""
OTHER_PORTS: Final = frozenset(
    # The WHATWG's Fetch standard, "bad port", from 1,024 on: what browsers do not dial either.
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
    # Databases, caches, brokers and remote control, by IANA's service names.
    | {1433, 1521, 2375, 2376, 2379, 2380, 3306, 3389, 5432, 5672, 5900, 6379, 9042, 9092, 9300, 11211, 27017}
)

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_SHAPE: Final = re.compile(
    r"https?://"
    r"(?:"
    r"(?P<number>(?:[0-9]{1,3}\.){3}[0-9]{1,3}|\[[0-9a-f:.]{2,45}\])"
    # The last label of a name begins with a letter, so that no resolver can take the name for a number: 0x7f.1, 127.1.
    rf"|(?=[^/?:]{{1,253}}(?:[/?:]|\Z))(?:{_LABEL}\.)*(?![0-9_]){_LABEL}"
    r")"
    r"(?::[1-9][0-9]{0,4})?"
    # Printable ASCII, without the fragment's mark and the backslash, which some parsers read as a slash.
    r"(?:[/?][!-\"$-\[\]-~]*)?",
    # ASCII, or a long s would do for an s.
    re.IGNORECASE | re.ASCII,
)
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})


class UrlNotAllowed(ValueError):
    """The server does not dial this URL. Why is never said: the reason would tell what can be reached from here."""

    def __init__(self) -> None:
        super().__init__("This URL cannot be used.")


def is_public(address: Address) -> bool:
    """Tell whether an address is of the public internet, and so is an IPv4 address inside it."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_V4)
    if address not in GLOBAL_V6 or any(address in network for network in NOT_PUBLIC_V6):
        return False
    # RFC 5214 6.1: in any network, this half of the address tunnels to the IPv4 address in the other. Every other
    # address with one inside (mapped, translated, 6to4, Teredo) is of a network that is refused whole.
    is_isatap = int(address) >> 32 & 0xFFFF_FFFF in _ISATAP
    return not is_isatap or is_public(IPv4Address(int(address) & 0xFFFF_FFFF))


def read_url(text: str) -> URL:
    """Read the URL that somebody else gave; what is given back is the very object that is dialled.

    The shape allows no host that two parsers could read in two ways; yarl alone parses, and what it found is judged.

    Raises:
        UrlNotAllowed: it is not http or https, is longer than 2,048 characters, carries a user, a fragment or anything
            but printable ASCII, has a host that is neither a plain name nor a plain address, or a port of another
            kind of service.
    """
    shape = _SHAPE.fullmatch(text) if len(text) <= URL_CHARACTERS else None
    if shape is None:
        raise UrlNotAllowed
    try:
        url = URL(text)
    except ValueError:
        raise UrlNotAllowed from None
    host, port = url.raw_host, url.port
    if host is None or port is None or (shape["number"] and literal_address(host) is None):
        raise UrlNotAllowed
    if port not in WEB_PORTS and (port < FIRST_FREE_PORT or port in OTHER_PORTS):
        raise UrlNotAllowed
    return url


def check_url(text: str, *, allow_private: bool) -> None:
    """Refuse at once what can be seen to be wrong in a URL; its name is resolved, and judged again, when it is dialled.

    Args:
        text: what was sent.
        allow_private: whether addresses that are not public may be dialled.

    Raises:
        UrlNotAllowed: it cannot be used.
    """
    host = read_url(text).raw_host or ""
    if allow_private:
        return
    if host.rpartition(".")[2] == "localhost":
        raise UrlNotAllowed
    address = literal_address(host)
    if address is not None and not is_public(address):
        raise UrlNotAllowed


def literal_address(host: str) -> Address | None:
    """Give the address that a host is; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None
