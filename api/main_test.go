package api_test

import (
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// atOnce is how many tests run at a time: they wait for disks more than they compute. More
// would need more connections than the tests' database has.
const atOnce = 3

func TestMain(m *testing.M) {
	pgtest.AtOnce(atOnce)
	pgtest.Main(m)
}
