package pgdb

import "testing"

func TestCheckVersion(t *testing.T) {
	for reported, good := range map[string]bool{
		"14.0": true, "14beta1": true, "15.18 (Debian 15.18-0+deb12u1)": true, "17devel": true, "100.1": true,
		"13.22": false, "9.6.24": false, "": false, "unknown": false,
	} {
		if err := checkVersion(reported); (err == nil) != good {
			t.Errorf("%q: %v", reported, err)
		}
	}
}
