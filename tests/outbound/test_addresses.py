"""The rules: what is public, and what is a URL that may be dialled."""

import time
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.outbound.addresses import UrlNotAllowed, check_url, is_public, read_url

PRIVATE = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1
198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::7f00:1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1
64:ff9b::808:808 64:ff9b:1::1 64:ff9b:1:ffff::7f00:1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1
2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 4000::1 5f00::1 8000::1 fc00::1 fd00:ec2::254
fe80::1 fe80::1%lo fec0::1 ff02::1 ff0e::1 2606:4700::5efe:127.0.0.1 2606:4700::200:5efe:169.254.169.254
"""
PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 168.63.129.15 168.63.129.17
172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
2606:4700:4700::1111 2001:4860:4860::8888 2a00:1450::1 2606:4700::5efe:8.8.8.8
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_an_address_of_no_public_network_is_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC.split())
def test_an_address_beside_those_networks_is_public(address):
    assert is_public(ip_address(address))


@given(st.ip_addresses())
@example(IPv4Address("127.0.0.1"))
@example(IPv6Address("2001:db8::"))
def test_nothing_that_python_calls_private_is_public(address):
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_link_local:
        assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_another_is_never_more_public_than_itself(inner):
    number = int(inner)
    hidden = [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(number),
        IPv6Address(0x64FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80),
        IPv6Address(0x20010000 << 96 | number ^ 0xFFFFFFFF),
        IPv6Address(0x26064700 << 96 | 0x5EFE << 32 | number),
    ]
    assert [address for address in hidden if is_public(address) and not is_public(inner)] == []


# Each would reach this machine, a cloud's metadata or another kind of service, if some parser were obliging.
NEVER = [
    *("http://127.1/", "http://0x7f.1/", "http://0x7f.0.0.1/", "http://0x7f000001/", "http://2130706433/"),
    *("http://0177.0.0.1/", "http://127.0.0.01/", "http://017700000001/", "http://0/", "http://127.0.1/"),
    *(
        "http://１２７.0.0.1/",
        "http://⑫7.0.0.1/",
        "http://127。0。0。1/",
        "http://ｌocalhost/",
        "http://localho\u017ft/",
    ),
    *("http://localhost./", "http://127.0.0.1./", "http://ok.test./", "http://ok..test/", "http://.ok.test/"),
    *("http://[fe80::1%lo]/", "http://[fe80::1%25lo]/", "http://[fe80::1%251]/", "http://127.0.0.1%20/"),
    *("http://256.0.0.1/", "http://1.2.3.4.5/", "http://1.2.3/", "http://ok.123/", "http://ok.0x7f/", "http://a.1_/"),
    *("http://[::1", "http://::1/", "http://[v1.x]/", "http://[]/", "http://[::ffff:0127.0.0.1]/", "http://[1.2.3.4]/"),
    *("file:///etc/passwd", "ftp://ok.test/", "gopher://ok.test/", "data:text/plain,x", "unix:/run/x.sock"),
    *("javascript:1", "ws://ok.test/", "//ok.test/", "ok.test", "/hook", "", "http:", "http://", "http:///ok.test/"),
    *("http:ok.test", "http:/ok.test/", "https:\\\\ok.test\\", "http:\\/ok.test/"),
    *("http://ok.test:22/", "http://ok.test:25/", "http://ok.test:5432/", "http://ok.test:6379/", "http://ok.test:0/"),
    *("http://ok.test:65536/", "http://ok.test:+80/", "http://ok.test:8_0/", "http://ok.test:080/", "http://ok.test:/"),
    *("http://ok.test:80:80/", "http://ok.test: 80/", "http://ok.test:-1/", "http://ok.test:８０/"),
    *(r"http://ok.test\@127.0.0.1/", r"http://ok.test\.evil/", r"http://ok.test/a\b", "http://ok.test#@127.0.0.1/"),
    *("http://ok.test/#", "http://ok.test/a#b", "http://user@ok.test/", "http://user:pw@ok.test/", "http://@ok.test/"),
    *("http://:@ok.test/", "http://ok.test@127.0.0.1/", "http://ok.test;@127.0.0.1/", "http://ok.test%40127.0.0.1/"),
    *(
        "http://127.0.0.1\t/",
        "http://127.0.\t0.1/",
        "http://127.0.0.1\n/",
        "http://ok.test/\r\nHost: a",
        "http://ok.t\x00st/",
    ),
    *(
        " http://ok.test/",
        "http://ok.test/ ",
        "http://ok.test/a b",
        "http://ok.test/\n",
        "ht\ntp://ok.test/",
        "\ufeffhttp://ok.test/",
    ),
    *("http://ok.test\u2044@x/", "http://ok\u00ad.test/", "http://bücher.test/", "http://ok.test/\u00e9"),
    *("http://%6cocalhost/", "http://ok.test%2f/", "http://ok*.test/", "http://ok'.test/", "http://-ok.test/"),
    *("http://ok-.test/", "http://" + "a" * 64 + ".test/", "http://" + "a." * 126 + "aaa/", "http://xn--zz--.test/"),
    "http://ok.test/" + "a" * 2_034,
]
# What is fine in itself, but for the address it names.
PRIVATE_URLS = [
    *(
        "http://127.0.0.1/",
        "https://127.0.0.1:8443/x",
        "http://127.0.0.2:8000/",
        "http://0.0.0.0/",
        "HTTP://127.0.0.1/",
    ),
    *("http://localhost/", "http://LOCALHOST:8000/", "http://a.localhost/", "http://169.254.169.254/latest/meta-data/"),
    *("http://10.1.2.3/", "http://172.16.0.1/", "http://192.168.1.1/", "http://100.64.0.1/", "http://168.63.129.16/"),
    *("http://224.0.0.1/", "http://255.255.255.255/", "http://[::]/", "http://[::1]/", "http://[::ffff:127.0.0.1]/"),
    *(
        "http://[::ffff:7f00:1]/",
        "http://[0:0:0:0:0:ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
    ),
    *("http://[::127.0.0.1]/", "http://[fe80::1]/", "http://[fec0::1]/", "http://[ff02::1]/", "http://[fd00::1]/"),
]
FINE = [
    *(
        "http://ok.test/",
        "https://ok.test",
        "https://ok.test?x=@",
        "https://ok.test/p@q?a=b&c=%2F",
        "http://ok.test:443/",
    ),
    *("https://OK.Test:8443/Hook", "HTTPS://ok.test/", "http://1.1.1.1/", "http://[2606:4700:4700::1111]:8080/"),
    *("http://[2606:4700:0::1]/", "https://xn--bcher-kva.test/", "http://a_b.test/", "http://127.0.0.1.test/"),
    *("http://7up.test/", "http://0x7f.test/", "http://" + "a." * 125 + "aa/", "http://ok.test/" + "a" * 2_033),
]


@pytest.mark.parametrize("url", NEVER)
def test_a_url_that_is_no_plain_web_address_is_refused_whatever_is_allowed(url):
    with pytest.raises(UrlNotAllowed, match=r"^This URL cannot be used\.$") as caught:
        check_url(url, allow_private=True)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", PRIVATE_URLS)
def test_a_private_literal_is_refused_at_once_unless_private_addresses_are_allowed(url):
    with pytest.raises(UrlNotAllowed, match=r"^This URL cannot be used\.$"):
        check_url(url, allow_private=False)
    check_url(url, allow_private=True)


@pytest.mark.parametrize("url", FINE)
def test_a_plain_web_address_is_fine(url):
    check_url(url, allow_private=False)


def test_scheme_and_host_are_normalised_and_the_path_is_not():
    assert str(read_url("HTTPS://OK.Test:8443/Hook?A=b")) == "https://ok.test:8443/Hook?A=b"


@given(st.text(max_size=60).map(lambda text: "http://" + text))
def test_what_is_read_is_read_again_as_the_same(text):
    try:
        url = read_url(text)
    except UrlNotAllowed:
        return
    assert read_url(str(url)) == url
    assert url.user is None
    assert not url.fragment
    assert url.raw_host.isascii()


@pytest.mark.parametrize(
    "tail", ["a" * 2_000, "a." * 1_000, "a-" * 1_000, "1." * 1_000, "[" * 2_000, "_" * 2_000 + "!"]
)
def test_no_url_takes_long_to_refuse(tail):
    began = time.perf_counter()
    with pytest.raises(UrlNotAllowed):
        check_url("http://" + tail, allow_private=False)
    assert time.perf_counter() - began < 0.5
