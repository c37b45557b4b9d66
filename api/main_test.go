package api_test

import (
	"flag"
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// atOnce is how many tests run at a time where nobody says otherwise. They wait for
// disks more than they compute; more would need more connections than the tests'
// database has.
const atOnce = "3"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err) // a flag of package testing that is gone
		}
	}
	pgtest.Main(m)
}
