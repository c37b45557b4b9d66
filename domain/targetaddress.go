package domain

import (
	"encoding/binary"
	"net/netip"
)

// specialIPv4 are the blocks of IANA's IPv4 Special-Purpose Address Registry (RFC
// 6890) and of multicast. The few that the registry calls globally reachable
// (anycast relays, AS112) are in it too: no webhook receiver lives there.
var specialIPv4 = prefixes(
	"0.0.0.0/8",       // this network, RFC 791
	"10.0.0.0/8",      // private use, RFC 1918
	"100.64.0.0/10",   // shared by carriers, RFC 6598; Alibaba's metadata is 100.100.100.200
	"127.0.0.0/8",     // loopback, RFC 1122
	"169.254.0.0/16",  // link-local, RFC 3927; most clouds' metadata is 169.254.169.254
	"172.16.0.0/12",   // private use, RFC 1918
	"192.0.0.0/24",    // protocol assignments, RFC 6890; Oracle's metadata is 192.0.0.192
	"192.0.2.0/24",    // documentation, RFC 5737
	"192.31.196.0/24", // AS112, RFC 7535
	"192.52.193.0/24", // AMT, RFC 7450
	"192.88.99.0/24",  // 6to4 relays, RFC 7526
	"192.168.0.0/16",  // private use, RFC 1918
	"192.175.48.0/24", // AS112, RFC 7534
	"198.18.0.0/15",   // benchmarks, RFC 2544
	"198.51.100.0/24", // documentation, RFC 5737
	"203.0.113.0/24",  // documentation, RFC 5737
	"224.0.0.0/4",     // multicast, RFC 5771
	"240.0.0.0/4",     // reserved, RFC 1112; the limited broadcast
	// Azure answers every guest here: DNS, health probes, the agent's secrets. The
	// address is in no registry, because it is Microsoft's own public space.
	"168.63.129.16/32",
)

// globalIPv6 is the only space that IANA hands out as global unicast (RFC 4291,
// section 2.4, and the IPv6 Address Space registry). Everything else is refused by
// lying outside: ::, ::1, IPv4-compatible ::/96, NAT64 64:ff9b::/96 and
// 64:ff9b:1::/48 (RFC 6052, RFC 8215), discard-only 100::/64, SRv6 5f00::/16, unique
// local fc00::/7 with Amazon's metadata fd00:ec2::254, link-local, site-local
// fec0::/10, multicast.
var globalIPv6 = netip.MustParsePrefix("2000::/3")

// specialIPv6 are the blocks of IANA's IPv6 Special-Purpose Address Registry that
// lie inside globalIPv6.
var specialIPv6 = prefixes(
	"2001::/23",         // protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID
	"2001:db8::/32",     // documentation, RFC 3849
	"2002::/16",         // 6to4, RFC 3056: an IPv4 address in bits 16 to 47
	"2620:4f:8000::/48", // AS112, RFC 7534
	"3ffe::/16",         // the former 6bone, RFC 3701
	"3fff::/20",         // documentation, RFC 9637
)

// PublicAddress tells whether a webhook may be sent to this address: global unicast
// and not set aside for a special purpose. An IPv4-mapped address counts as what it
// maps to, because that is where the system's socket connects; every other address
// that carries an IPv4 address inside is refused, because a gateway on the way may
// unpack it.
func PublicAddress(a netip.Addr) bool {
	a = a.Unmap()
	switch {
	case !a.IsValid() || a.Zone() != "":
		return false
	case a.Is4():
		return !containsAddress(specialIPv4, a)
	default:
		return globalIPv6.Contains(a) && !containsAddress(specialIPv6, a) && !isISATAP(a)
	}
}

// isISATAP recognises RFC 5214, section 6.1: under any prefix, an interface
// identifier 0000:5efe or 0200:5efe is followed by the IPv4 address to tunnel to.
func isISATAP(a netip.Addr) bool {
	bytes := a.As16()
	const organisation, universalBit = 0x00005efe, 0x02000000
	return binary.BigEndian.Uint32(bytes[8:12])&^universalBit == organisation
}

func containsAddress(blocks []netip.Prefix, a netip.Addr) bool {
	for _, block := range blocks {
		if block.Contains(a) {
			return true
		}
	}
	return false
}

func prefixes(texts ...string) []netip.Prefix {
	blocks := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		blocks[i] = netip.MustParsePrefix(text)
	}
	return blocks
}
