package httpsig

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"

	"github.com/dunglas/httpsfv"

	"github.com/claimledger/claimledger/domain"
)

// digestAlgorithm is the one that has to be there; RFC 9530 allows others beside it.
const digestAlgorithm = "sha-256"

func contentDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return digestAlgorithm + "=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// checkDigest compares content-digest with the body. Without a body the header is not
// needed and not signed, but one that is there must still be true: a false one tells
// that a body was lost on the way.
func (f *fields) checkDigest(body []byte) error {
	if f.digest == "" && !f.hasBody || f.digest == contentDigest(body) {
		return nil
	}
	digests, err := httpsfv.UnmarshalDictionary([]string{f.digest})
	if err != nil {
		return &domain.Error{
			Code: domain.CodeSignatureDigestMismatch, Message: "content-digest is not a dictionary of digests (RFC 9530)", Err: err,
		}
	}
	member, _ := digests.Get(digestAlgorithm)
	item, _ := member.(httpsfv.Item)
	claimed, ok := item.Value.([]byte)
	if !ok {
		return domain.Errorf(domain.CodeSignatureDigestMismatch, "content-digest has no %s", digestAlgorithm)
	}
	if actual := sha256.Sum256(body); !bytes.Equal(claimed, actual[:]) {
		return domain.Errorf(domain.CodeSignatureDigestMismatch, "content-digest is not the digest of the body")
	}
	return nil
}
