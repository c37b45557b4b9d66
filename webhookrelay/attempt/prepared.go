package attempt

import (
	"encoding/binary"
	"errors"
	"net/url"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/claimledger/claimledger/domain/signature"
)

// keptTargets is for how many webhooks a sender keeps what it worked out.
const keptTargets = 4096

// target is what follows from a webhook's URL and secrets alone.
type target struct {
	url    *url.URL
	signer *signature.Signer
}

// prepared keeps the targets that were sent to last.
type prepared struct {
	once    sync.Once
	targets *lru.Cache[targetKey, target]
}

type targetKey struct{ url, secrets string }

func (p *prepared) target(r Request) (t target, err error) {
	p.once.Do(func() { p.targets, err = lru.New[targetKey, target](keptTargets) })
	if err != nil {
		return t, err
	}
	key := targetKey{r.URL, inOne(r.Secrets)}
	if t, ok := p.targets.Get(key); ok {
		return t, nil
	}
	if t.url, err = url.Parse(r.URL); err != nil {
		return t, err
	}
	if t.url.Host == "" {
		return t, errors.New("the URL has no host")
	}
	if t.signer, err = signature.NewSigner(r.Secrets); err != nil {
		return t, err
	}
	p.targets.Add(key, t)
	return t, nil
}

// inOne is texts of any bytes as one that no others make: each behind its length.
func inOne(texts []string) string {
	var b []byte
	for _, text := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return string(b)
}
