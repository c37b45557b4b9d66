package domain

import (
	"net/netip"
	"testing"
)

func TestPublicAddress(t *testing.T) {
	public := []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
		"128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255",
		"172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
		"223.255.255.255", "::ffff:8.8.8.8",
		"2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700:4700::1111", "2a00:1450::1", "2c0f::1",
	}
	special := []string{
		// This network, loopback, private use.
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "10.0.0.0", "10.255.255.255", "172.16.0.1",
		"172.31.255.255", "192.168.0.1",
		// Carriers, link-local, cloud metadata.
		"100.64.0.1", "100.100.100.200", "100.127.255.255", "169.254.0.1", "169.254.169.254", "168.63.129.16",
		"192.0.0.192", "fd00:ec2::254", "fd20:ce::254",
		// Assignments, documentation, benchmarks, anycast.
		"192.0.0.1", "192.0.0.170", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1",
		"198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
		// Multicast, reserved, broadcast.
		"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		// IPv6 without an IPv4 address inside.
		"::", "::1", "100::1", "100:0:0:1::1", "200::1", "1fff::1", "2001:1::1", "2001:2::1", "2001:10::1",
		"2001:20::1", "2001:db8::1", "2620:4f:8000::1", "3ffe::1", "3fff::1", "4000::1", "5f00::1", "fc00::1",
		"fdff::1", "fe80::1", "febf::1", "fec0::1", "feff::1", "ff02::1", "ff0e::1",
		// IPv6 with one: mapped, compatible, NAT64, 6to4, Teredo, ISATAP.
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8",
		"64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::10.0.0.1", "64:ff9b:1:ffff::8.8.8.8",
		"2002:7f00:1::1", "2002:808:808::1", "2001::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
		"2606:4700::5efe:127.0.0.1", "2606:4700::200:5efe:10.0.0.1",
		// Zones, whatever the address.
		"fe80::1%eth0", "2606:4700:4700::1111%1",
	}
	for _, text := range public {
		if !PublicAddress(netip.MustParseAddr(text)) {
			t.Errorf("%s is refused", text)
		}
	}
	for _, text := range special {
		if PublicAddress(netip.MustParseAddr(text)) {
			t.Errorf("%s counts as public", text)
		}
	}
	if PublicAddress(netip.Addr{}) {
		t.Error("the zero address counts as public")
	}
}

// The first and the last address of each block, and that nobody shortened a mask: an
// IPv4-mapped form is judged as what it maps to.
func TestSpecialBlocksAreRefusedWhole(t *testing.T) {
	for _, block := range append(specialIPv4, specialIPv6...) {
		first := block.Masked().Addr()
		last := first.AsSlice()
		for bit := block.Bits(); bit < len(last)*8; bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, addr := range []netip.Addr{first, end} {
			if PublicAddress(addr) {
				t.Errorf("%s of %s counts as public", addr, block)
			}
			if mapped := netip.AddrFrom16(addr.As16()); PublicAddress(mapped) {
				t.Errorf("%s of %s counts as public", mapped, block)
			}
		}
	}
}
