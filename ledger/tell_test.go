package ledger

import (
	"context"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// longWord freezes a line for a reason of so many bytes, by the door behind which length is looked at: what was taken in before there was a
// bound stands in the log.
func (b *bench) longWord(line string, bytes int) {
	b.t.Helper()
	b.words++
	f := statement.Freeze{Kind: statement.KindFreeze, Env: perso.EnvTest, Site: testSite, What: statement.FrozenLine, Name: line,
		Reason: strings.Repeat("x", bytes), At: b.clock(), Nonce: [32]byte{b.words}}
	signed := b.sign(must(f.Encode()), "ann")
	r := bus.WordReply{Kind: f.Kind, Hash: signed.Hash()}
	var fault error
	if err := b.l.commit(b.t.Context(), func(ctx context.Context, batch *Batch) (err error) {
		fault, err = b.l.word(ctx, batch, signed, f.Kind, freezeWord{f}, &r)
		return err
	}); err != nil || fault != nil {
		b.t.Fatal(err, fault)
	}
}

// TestLongWordsAreTold: a vault that was away hears all that officers said, also when it is more than one message takes.
func TestLongWordsAreTold(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	heard := len(b.vault.words)
	const words = 2 * bus.MaxMessageBytes / record.MaxValueBytes
	for i := range words {
		b.longWord("line-"+strings.Repeat("9", i%40)+string(rune('a'+i/40)), record.MaxValueBytes)
	}
	if untold, apart := b.l.tellAll(t.Context()); len(untold)+len(apart) > 0 {
		t.Errorf("untold %v, apart %v", untold, apart)
	}
	if n := len(b.vault.words) - heard; n != words {
		t.Errorf("the vault heard %d of %d words", n, words)
	}
}

// TestOneMessage: a batch is within a message, in bytes and in words, and the largest word is one of its own.
func TestOneMessage(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 300, 3_000, bus.MaxMessageBytes / bus.MaxBatch, 10_000, statement.MaxSignedBytes} {
		var all [][]byte
		for range bus.MaxBatch + 1 {
			all = append(all, make([]byte, size))
		}
		part := oneMessage(all)
		fits := min(bus.MaxBatch, bus.MaxMessageBytes/size)
		if len(part) == 0 || len(part) < fits-3 || len(part) > bus.MaxBatch {
			t.Errorf("%d words of %d bytes, %d fit", len(part), size, fits)
		}
		if _, err := bus.Encode(bus.HeedRequest{Known: 1 << 62, Words: part, Chain: [32]byte{0xFF}}); err != nil {
			t.Errorf("words of %d bytes: %v", size, err)
		}
	}
	if part := oneMessage(nil); len(part) != 0 {
		t.Errorf("%d words of none", len(part))
	}
}

// TestLongReasons: a reason that nobody reads is taken in of nobody.
func TestLongReasons(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	for _, n := range []int{statement.MaxReasonBytes + 1, statement.MaxReasonBytes} {
		refused := n > statement.MaxReasonBytes
		f := statement.Freeze{Kind: statement.KindFreeze, Env: perso.EnvTest, Site: testSite, What: statement.FrozenLine, Name: "line-1", Reason: strings.Repeat("x", n), At: b.clock(), Nonce: [32]byte{1}}
		_, err := b.l.Word(t.Context(), bus.SignedRequest{Signed: b.sign(must(f.Encode()), "ann").Encode()})
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "say it shortly") {
			t.Errorf("a reason of %d bytes: %v", n, err)
		}
	}
	if s := must(b.l.Standing(t.Context(), bus.Empty{})); len(s.Frozen) != 1 || len(s.Frozen[0].Reason) != statement.MaxReasonBytes {
		t.Errorf("frozen: %d", len(s.Frozen))
	}
}
