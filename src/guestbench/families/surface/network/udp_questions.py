"""The commonest UDP services and a question that each would answer; pure data, it sends nothing.

A UDP port says nothing of itself: a service is seen only if it understands what it is asked. Numbers and
names are those of IANA's registry of services; the choice is ours: what servers, network devices and Unix
systems really run. Ports without a question of their own are sent a few zero bytes.
"""

from __future__ import annotations

import socket
import struct

ANYTHING = bytes(8)
TEXT = b"\r\n"


def _dns(name: str, kind: int, *, flags: int = 0, number: int = 0x6762) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, flags, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1)


def _rpc(program: int, version: int) -> bytes:
    """A call of an ONC RPC program's procedure 0, which does nothing but answer (RFC 5531)."""
    return struct.pack("!10I", 0x67623031, 0, 2, program, version, 0, 0, 0, 0, 0)


DNS_TXT, DNS_PTR = 16, 12
DNS_RECURSE = 0x0100

NETBIOS_STATUS = (
    bytes.fromhex("676200000001000000000000") + b"\x20CK" + b"A" * 30 + b"\0" + bytes.fromhex("00210001")
)
SNMP_GET = bytes.fromhex("302702010004067075626c6963a01a02026762020100020100300e300c06082b060102010101000500")
"""SNMPv1, community `public`, get 1.3.6.1.2.1.1.1 (the system's description)."""
CLDAP_SEARCH = bytes.fromhex("3025020101632004000a01000a0100020100020100010100870b6f626a656374436c6173733000")
"""An LDAP search of the root for `objectClass` (RFC 4511)."""
NTP_CLIENT = b"\xe3" + bytes(47)
TFTP_READ = b"\0\x01guestbench\0octet\0"
RIP_REQUEST = struct.pack("!BBHHHIIII", 1, 1, 0, 0, 0, 0, 0, 0, 16)
ASF_PING = bytes.fromhex("0600ff06000011be80000000")
IKE_HEADER = b"guestbnc" + bytes(8) + bytes.fromhex("21202208000000000000001c")
SSDP_SEARCH = (
    b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"
    b'MAN: "ssdp:discover"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n'
)
STUN_BIND = struct.pack("!HHI", 1, 0, 0x2112A442) + b"guestbench!!"
COAP_WELL_KNOWN = b"\x40\x01\x67\x62\xbb.well-known\x04core"
MEMCACHED_VERSION = bytes.fromhex("6762000000010000") + b"version\r\n"
OPENVPN_RESET = b"\x38" + b"guestbnc" + bytes(5)
QUIC_VERSION = b"\xc0\x1a\x2a\x3a\x4a\x08guestbnc\x08benchgue".ljust(1200, b"\0")
"""A packet of a version that is kept for this: a server answers with those it has (RFC 9000, 6.3)."""
RADIUS_STATUS = struct.pack("!BBH", 12, 1, 38) + b"guestbenchguestb" + b"\x50\x12" + bytes(16)
L2TP_START = bytes.fromhex("c802001400000000000000008008000000000001")
SIP_OPTIONS = (
    b"OPTIONS sip:guest SIP/2.0\r\nVia: SIP/2.0/UDP host;branch=z9hG4bKguest\r\nFrom: <sip:host>;tag=gb\r\n"
    b"To: <sip:guest>\r\nCall-ID: guestbench\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\n"
    b"Content-Length: 0\r\n\r\n"
)

SERVICES: dict[int, tuple[str, bytes]] = {
    7: ("echo", TEXT),
    9: ("discard", TEXT),
    11: ("systat", TEXT),
    13: ("daytime", TEXT),
    17: ("qotd", TEXT),
    19: ("chargen", TEXT),
    37: ("time", TEXT),
    42: ("nameserver", ANYTHING),
    49: ("tacacs", ANYTHING),
    53: ("domain", _dns("version.bind", DNS_TXT, flags=DNS_RECURSE)),
    67: ("bootps", ANYTHING),
    68: ("bootpc", ANYTHING),
    69: ("tftp", TFTP_READ),
    80: ("http", ANYTHING),
    88: ("kerberos", ANYTHING),
    111: ("sunrpc", _rpc(100000, 2)),
    123: ("ntp", NTP_CLIENT),
    135: ("epmap", ANYTHING),
    137: ("netbios-ns", NETBIOS_STATUS),
    138: ("netbios-dgm", ANYTHING),
    161: ("snmp", SNMP_GET),
    162: ("snmptrap", ANYTHING),
    177: ("xdmcp", bytes.fromhex("0001000200010000")),
    319: ("ptp-event", ANYTHING),
    320: ("ptp-general", ANYTHING),
    389: ("ldap", CLDAP_SEARCH),
    427: ("svrloc", bytes.fromhex("0201000019000000000067620002656e0000000000")),
    443: ("https", QUIC_VERSION),
    445: ("microsoft-ds", ANYTHING),
    464: ("kpasswd", ANYTHING),
    500: ("isakmp", IKE_HEADER),
    512: ("comsat", ANYTHING),
    513: ("who", ANYTHING),
    514: ("syslog", TEXT),
    517: ("talk", ANYTHING),
    518: ("ntalk", ANYTHING),
    520: ("router", RIP_REQUEST),
    521: ("ripng", ANYTHING),
    546: ("dhcpv6-client", ANYTHING),
    547: ("dhcpv6-server", ANYTHING),
    554: ("rtsp", ANYTHING),
    623: ("asf-rmcp", ASF_PING),
    631: ("ipp", ANYTHING),
    646: ("ldp", ANYTHING),
    655: ("tinc", ANYTHING),
    694: ("ha-cluster", ANYTHING),
    749: ("kerberos-adm", ANYTHING),
    853: ("domain-s", ANYTHING),
    1194: ("openvpn", OPENVPN_RESET),
    1434: ("ms-sql-m", b"\x02"),
    1645: ("radius-old", RADIUS_STATUS),
    1646: ("radacct-old", RADIUS_STATUS),
    1701: ("l2tp", L2TP_START),
    1812: ("radius", RADIUS_STATUS),
    1813: ("radius-acct", RADIUS_STATUS),
    1883: ("mqtt", ANYTHING),
    1900: ("ssdp", SSDP_SEARCH),
    2049: ("nfs", _rpc(100003, 3)),
    2123: ("gtp-control", bytes.fromhex("320100040000000067620000")),
    2152: ("gtp-user", bytes.fromhex("320100040000000067620000")),
    3074: ("xbox", ANYTHING),
    3283: ("net-assistant", ANYTHING),
    3389: ("ms-wbt-server", ANYTHING),
    3478: ("stun", STUN_BIND),
    3702: ("ws-discovery", ANYTHING),
    3784: ("bfd-control", ANYTHING),
    4045: ("lockd", _rpc(100021, 4)),
    4369: ("epmd", ANYTHING),
    4433: ("dtls", ANYTHING),
    4500: ("ipsec-nat-t", bytes(4) + IKE_HEADER),
    4739: ("ipfix", ANYTHING),
    4789: ("vxlan", ANYTHING),
    5000: ("commplex", ANYTHING),
    5001: ("iperf", ANYTHING),
    5004: ("rtp", ANYTHING),
    5060: ("sip", SIP_OPTIONS),
    5201: ("iperf3", ANYTHING),
    5246: ("capwap-control", ANYTHING),
    5349: ("stuns", STUN_BIND),
    5351: ("nat-pmp", bytes(2)),
    5353: ("mdns", _dns("_services._dns-sd._udp.local", DNS_PTR)),
    5355: ("llmnr", ANYTHING),
    5405: ("corosync", ANYTHING),
    5632: ("pcanywhere", b"ST"),
    5683: ("coap", COAP_WELL_KNOWN),
    6081: ("geneve", ANYTHING),
    6343: ("sflow", ANYTHING),
    6881: ("bittorrent", b"d1:ad2:id20:guestbenchguestbenche1:q4:ping1:t2:gb1:y1:qe"),
    8080: ("http-alt", ANYTHING),
    8125: ("statsd", ANYTHING),
    8472: ("otv", ANYTHING),
    9987: ("teamspeak", ANYTHING),
    10000: ("ndmp", ANYTHING),
    10161: ("snmp-dtls", ANYTHING),
    11211: ("memcached", MEMCACHED_VERSION),
    17185: ("vxworks-wdb", ANYTHING),
    27015: ("steam", b"\xff\xff\xff\xffTSource Engine Query\0"),
    41641: ("tailscale", ANYTHING),
    51820: ("wireguard", ANYTHING),
    64738: ("mumble", bytes(4) + b"guestbnc"),
}
"""Ports, what IANA or custom calls them, and the question."""

PORTS = tuple(SERVICES)
LLMNR_PORT = 5355
GROUPS = {
    1900: socket.inet_aton("239.255.255.250"),
    5353: socket.inet_aton("224.0.0.251"),
    LLMNR_PORT: socket.inet_aton("224.0.0.252"),
}
"""Services that are asked by multicast, and may not answer a question that comes by itself. systemd's LLMNR
responder drops those."""


def make_question(port: int, guest: bytes) -> bytes:
    """What to send to a UDP port of the guest whose IPv4 address is `guest`.

    A responder of LLMNR answers only for names that are its own. The one that is known from outside is that
    of its address.
    """
    if port != LLMNR_PORT:
        return SERVICES[port][1]
    name = ".".join(reversed(socket.inet_ntoa(guest).split("."))) + ".in-addr.arpa"
    return _dns(name, DNS_PTR)
