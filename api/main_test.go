package api_test

import (
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
