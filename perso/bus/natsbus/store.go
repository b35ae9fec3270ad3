package natsbus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/persoline/persoline/perso/bus"
)

// A blob is stored as chunks on subjects perso.blob.<hash>.<number>. A chunk shorter than chunkBytes is the last, and the
// last is written first, so that whoever finds chunk 0 will find the others. JetStream's own object store was not taken
// because its readers must be allowed to create consumers, and a consumer delivers to any subject its maker names.
const (
	// chunkBytes fits one message.
	chunkBytes = 512 << 10
	// maxBlobBytes is well above a compiled script with the largest profile.
	maxBlobBytes = 32 << 20
	// directGet reads the last message of a subject without a consumer (ADR-31).
	directGet = "$JS.API.DIRECT.GET." + StreamBlob + "."
)

// PutBlob stores data under its SHA-256. Putting it again heals a damaged copy.
func (c *Conn) PutBlob(ctx context.Context, hash [sha256.Size]byte, data []byte) error {
	if sha256.Sum256(data) != hash {
		return bus.Refuse(bus.FaultConflict, "putting blob %x: the content has another hash", hash)
	}
	if len(data) > maxBlobBytes {
		return bus.Refuse(bus.FaultBadMessage, "putting blob %x: %d bytes exceed %d", hash, len(data), maxBlobBytes)
	}
	for i := len(data) / chunkBytes; i >= 0; i-- {
		chunk := data[i*chunkBytes : min(len(data), (i+1)*chunkBytes)]
		if _, err := c.js.Publish(ctx, chunkSubject(hash, i), chunk); err != nil {
			return fmt.Errorf("putting blob %x: %w", hash, unanswered(err))
		}
	}
	return nil
}

// GetBlob reads and verifies. A blob that is not there is a Fault not-found, a damaged one a Fault conflict: in both cases
// the ledger is asked to put it again.
func (c *Conn) GetBlob(ctx context.Context, hash [sha256.Size]byte) ([]byte, error) {
	var data []byte
	for i := 0; i <= maxBlobBytes/chunkBytes; i++ {
		msg, err := c.roundTrip(ctx, directGet+chunkSubject(hash, i), nil)
		if err != nil {
			return nil, fmt.Errorf("getting blob %x: %w", hash, err)
		}
		if status := msg.Header.Get("Status"); status == "404" {
			return nil, bus.Refuse(bus.FaultNotFound, "no blob %x", hash)
		} else if status != "" {
			return nil, fmt.Errorf("getting blob %x: status %q", hash, status)
		}
		data = append(data, msg.Data...)
		if len(msg.Data) < chunkBytes {
			break
		}
	}
	if sha256.Sum256(data) != hash {
		return nil, bus.Refuse(bus.FaultConflict, "blob %x is damaged", hash)
	}
	return data, nil
}

func chunkSubject(hash [sha256.Size]byte, i int) string {
	return blobPrefix + hex.EncodeToString(hash[:]) + "." + strconv.Itoa(i)
}
