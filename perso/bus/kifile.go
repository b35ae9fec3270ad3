package bus

import (
	"context"
	"crypto/sha256"
	"fmt"
)

// SendKi hands a customer's file of Ki to the ledger in parts, and gives what a SubmitRequest names it by.
func SendKi(ctx context.Context, office Requester, file []byte) (KiFileRef, error) {
	ref := KiFileRef{Hash: sha256.Sum256(file), Size: uint64(len(file))}
	for at := 0; at == 0 || at < len(file); at += KiPartBytes { // an empty file has one part
		q := KiPartRequest{File: ref, At: uint64(at), Data: file[at:min(at+KiPartBytes, len(file))]}
		if _, err := Call[KiPartReply](ctx, office, OfficeSubject(OfficeKiPart), q); err != nil {
			return ref, fmt.Errorf("sending the file of Ki: %w", err)
		}
	}
	return ref, nil
}
