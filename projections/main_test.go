package projections

import (
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// atOnce is how many tests run at a time: they wait for the database and the log more than
// they compute.
const atOnce = 3

func TestMain(m *testing.M) {
	pgtest.AtOnce(atOnce)
	pgtest.Main(m)
}
