package eventstore_test

import (
	"testing"

	"github.com/claimledger/claimledger/eventstore/logtest"
)

func TestContractOnMemory(t *testing.T)   { logtest.Run(t, logtest.OnMemory) }
func TestContractOnEmbedded(t *testing.T) { logtest.Run(t, logtest.OnEmbedded) }
func TestContractOnSingle(t *testing.T)   { logtest.Run(t, logtest.OnSingle) }
func TestContractOnCluster(t *testing.T)  { logtest.Run(t, logtest.OnCluster) }
