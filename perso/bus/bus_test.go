package bus

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden messages anew")

// sample is one message type: its value with every field filled, and its decoder.
type sample struct {
	name   string
	value  any
	decode func([]byte) (any, error)
}

func sampleOf[T any](name string) sample {
	var v T
	seed := 0
	fill(reflect.ValueOf(&v).Elem(), &seed)
	return sample{name, v, func(b []byte) (any, error) { return Decode[T](b) }}
}

func samples() []sample {
	return []sample{
		sampleOf[WorkOrder]("WorkOrder"),
		sampleOf[ChallengesRequest]("ChallengesRequest"), sampleOf[Reply[ChallengesReply]]("ChallengesReply"),
		sampleOf[ActRequest]("ActRequest"), sampleOf[Reply[ActReply]]("ActReply"),
		sampleOf[PresentRequest]("PresentRequest"), sampleOf[BinRequest]("BinRequest"),
		sampleOf[CountRequest]("CountRequest"), sampleOf[Empty]("Empty"), sampleOf[Here]("Here"),
		sampleOf[Reply[VaultInfoReply]]("VaultInfoReply"),
		sampleOf[OpenLotRequest]("OpenLotRequest"), sampleOf[Reply[OpenLotReply]]("OpenLotReply"),
		sampleOf[VaultChallengesRequest]("VaultChallengesRequest"),
		sampleOf[Reply[VaultChallengesReply]]("VaultChallengesReply"),
		sampleOf[CheckpointRequest]("CheckpointRequest"), sampleOf[Reply[CheckpointReply]]("CheckpointReply"),
		sampleOf[ServeRequest]("ServeRequest"), sampleOf[Reply[ServeReply]]("ServeReply"),
		sampleOf[ExportRequest]("ExportRequest"), sampleOf[Reply[ExportReply]]("ExportReply"),
		sampleOf[ReceiptsRequest]("ReceiptsRequest"), sampleOf[Reply[ReceiptsReply]]("ReceiptsReply"),
		sampleOf[SealBundleRequest]("SealBundleRequest"), sampleOf[Reply[SealBundleReply]]("SealBundleReply"),
		sampleOf[SubmitRequest]("SubmitRequest"), sampleOf[Reply[SubmitReply]]("SubmitReply"),
		sampleOf[KeepKiRequest]("KeepKiRequest"), sampleOf[Reply[KeepKiReply]]("KeepKiReply"), sampleOf[DropKiRequest]("DropKiRequest"),
		sampleOf[CheckKiRequest]("CheckKiRequest"), sampleOf[Reply[CheckKiReply]]("CheckKiReply"),
		sampleOf[KiPartRequest]("KiPartRequest"), sampleOf[Reply[KiPartReply]]("KiPartReply"),
		sampleOf[OrderRequest]("OrderRequest"), sampleOf[Reply[OrderReply]]("OrderReply"),
		sampleOf[DraftRequest]("DraftRequest"), sampleOf[Reply[DraftReply]]("DraftReply"),
		sampleOf[SignedRequest]("SignedRequest"), sampleOf[Reply[LotReply]]("LotReply"),
		sampleOf[ReceiveRequest]("ReceiveRequest"), sampleOf[Reply[ReceiveReply]]("ReceiveReply"),
		sampleOf[LotRequest]("LotRequest"), sampleOf[Reply[StatusReply]]("StatusReply"), sampleOf[Reply[LotsReply]]("LotsReply"),
		sampleOf[TraceRequest]("TraceRequest"), sampleOf[Reply[TraceReply]]("TraceReply"), sampleOf[Reply[PathReply]]("PathReply"),
		sampleOf[DestroyLotRequest]("DestroyLotRequest"), sampleOf[Reply[DestroyLotReply]]("DestroyLotReply"),
		sampleOf[HeedRequest]("HeedRequest"), sampleOf[Reply[HeedReply]]("HeedReply"),
		sampleOf[AbandonRequest]("AbandonRequest"), sampleOf[Reply[AbandonReply]]("AbandonReply"),
		sampleOf[InWorkRequest]("InWorkRequest"), sampleOf[Reply[InWorkReply]]("InWorkReply"), sampleOf[Reply[LoseReply]]("LoseReply"),
		sampleOf[AssignLotRequest]("AssignLotRequest"), sampleOf[Reply[AssignLotReply]]("AssignLotReply"),
		sampleOf[FollowRequest]("FollowRequest"), sampleOf[Reply[FollowReply]]("FollowReply"),
		sampleOf[Reply[ClosingReply]]("ClosingReply"), sampleOf[Reply[DestroyReply]]("DestroyReply"),
		sampleOf[Reply[ReviewReply]]("ReviewReply"), sampleOf[BookRequest]("BookRequest"), sampleOf[Reply[RejectsReply]]("RejectsReply"), sampleOf[Reply[WordReply]]("WordReply"), sampleOf[OrdersRequest]("OrdersRequest"), sampleOf[Reply[OrdersReply]]("OrdersReply"), sampleOf[Reply[StandingReply]]("StandingReply"), sampleOf[RestoredRequest]("RestoredRequest"), sampleOf[Reply[RestoredReply]]("RestoredReply"), sampleOf[Reply[BookReply]]("BookReply"), sampleOf[Reply[StockReply]]("StockReply"), sampleOf[LogRequest]("LogRequest"), sampleOf[Reply[LogReply]]("LogReply"),
	}
}

// fill sets every field to something of its own, so that a field that is added, dropped or renumbered changes the bytes.
func fill(v reflect.Value, seed *int) {
	*seed++
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Date(2031, 2, 3, 4, 5, 6, 789_012_000, time.UTC)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), seed)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), seed)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), seed)
		fill(v.Index(1), seed)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, seed)
		fill(value, seed)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), seed)
		}
	case reflect.String:
		v.SetString("s" + hex.EncodeToString([]byte{byte(*seed)}))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64, reflect.Int:
		v.SetInt(int64(*seed))
	case reflect.Uint8:
		v.SetUint(uint64(byte(*seed)))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*seed))
	default:
		panic("no sample for " + v.Type().String())
	}
}

// A change of these bytes is a change of the wire: line, ledger and vault must then be replaced together.
func TestWireIsGolden(t *testing.T) {
	t.Parallel()
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			got, err := Encode(s.value)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", s.name+".cbor.hex")
			if *update {
				if err := os.WriteFile(file, []byte(hex.EncodeToString(got)+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.TrimSpace(string(text)); hex.EncodeToString(got) != want {
				t.Fatalf("wire changed:\n got %x\nwant %s", got, want)
			}
			back, err := s.decode(got)
			if err != nil || !reflect.DeepEqual(back, s.value) {
				t.Fatalf("decoded %+v, %v\nwant %+v", back, err, s.value)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	const plain = "a1014100" // {1: h'00'}
	for name, text := range map[string]string{
		"as encoded":     plain,
		"nothing":        "",
		"trailing byte":  plain + "00",
		"missing field":  "a0",
		"unknown field":  "a20141000200",
		"doubled key":    "a2014100014100",
		"indefinite map": "bf014100ff",
		"tag":            "c1" + plain,
		"long key":       "a118014100",
		"long length":    "a101580100",
		"text for bytes": "a1016100",
	} {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(name, err)
		}
		var fault *Fault
		_, err = Decode[SealBundleReply](raw)
		if text == plain && err != nil || text != plain && (!errors.As(err, &fault) || fault.Code != FaultBadMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeRefusesHashOfWrongLength(t *testing.T) {
	t.Parallel()
	type loose struct {
		Old   int64  `cbor:"1,keyasint"`
		Size  int64  `cbor:"2,keyasint"`
		Root  []byte `cbor:"3,keyasint"`
		Proof []byte `cbor:"4,keyasint"` // packed
	}
	for _, c := range []struct {
		root, proof int
		ok          bool
	}{{32, 32, true}, {31, 32, false}, {33, 32, false}, {32, 31, false}, {32, 33, false}, {32, 64, true}, {0, 32, false}} {
		raw, err := Encode(loose{1, 2, make([]byte, c.root), make([]byte, c.proof)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode[CheckpointRequest](raw); (err == nil) != c.ok {
			t.Errorf("root of %d, proof of %d bytes: %v", c.root, c.proof, err)
		}
	}
}

func TestSizeLimit(t *testing.T) {
	t.Parallel()
	big := make([]byte, MaxMessageBytes)
	if _, err := Encode(SealBundleRequest{Manifest: big}); err == nil {
		t.Error("encoded more than MaxMessageBytes")
	}
	if _, err := Decode[SealBundleRequest](append(big, 0)); err == nil {
		t.Error("decoded more than MaxMessageBytes")
	}
}

func TestAskingLine(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]string{
		LineSubject("l-1", LineAct): "l-1", VaultSubject("v", VaultServe): "", "perso.line.*.act": "", "perso.line.a.b.act": "", "": "",
	} {
		line, err := AskingLine(WithSubject(context.Background(), subject))
		var fault *Fault
		if string(line) != want || (want == "") != errors.As(err, &fault) {
			t.Errorf("%q: %q, %v", subject, line, err)
		}
	}
	if _, err := AskingLine(context.Background()); err == nil {
		t.Error("a context without subject named a line")
	}
}

type direct struct{ h Handler }

func (d direct) Request(ctx context.Context, _ string, data []byte) ([]byte, error) {
	return d.h(ctx, data)
}

func TestCallAndAnswer(t *testing.T) {
	t.Parallel()
	ask := func(err error) error {
		h := Answer(func(_ context.Context, q ReceiptsRequest) (ReceiptsReply, error) {
			return ReceiptsReply{Vault: q.Lot}, err
		})
		r, err := Call[ReceiptsReply](context.Background(), direct{h}, "s", ReceiptsRequest{Lot: "lot"})
		if err == nil && r.Vault != "lot" {
			t.Errorf("got %+v", r)
		}
		return err
	}
	var fault *Fault
	if err := ask(nil); err != nil {
		t.Error(err)
	}
	if err := ask(Refuse(FaultConflict, "no %d", 7)); !errors.As(err, &fault) || *fault != (Fault{FaultConflict, "no 7"}) {
		t.Error(err)
	}
	if err := ask(errors.New("plain")); !errors.As(err, &fault) || fault.Code != FaultInternal {
		t.Error(err)
	}
	hollow := direct{func(context.Context, []byte) ([]byte, error) { return []byte{0xa0}, nil }}
	if _, err := Call[Empty](context.Background(), hollow, "s", Empty{}); err == nil {
		t.Error("an answer with neither answer nor fault passed")
	}
}

// Whatever decodes must encode to the same bytes, for every message type.
func FuzzDecode(f *testing.F) {
	all := samples()
	for i, s := range all {
		b, err := Encode(s.value)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), b)
	}
	f.Add(uint8(0), []byte{0xbf, 0xff})
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		s := all[int(which)%len(all)]
		v, err := s.decode(b)
		if err != nil {
			return
		}
		again, err := Encode(v)
		if err != nil || string(again) != string(b) {
			t.Fatalf("%s: %x became %x, %v", s.name, b, again, err)
		}
	})
}

func TestPackedListsHaveOneSpelling(t *testing.T) {
	t.Parallel()
	type message struct {
		Window Window `cbor:"1,keyasint"`
		Chunks Chunks `cbor:"2,keyasint"`
		Proof  Proof  `cbor:"3,keyasint"`
	}
	for _, m := range []message{
		{},
		{Window: Window{{APDU: []byte{1, 2}, SW: "9000"}, {APDU: []byte{}, SW: ""}}, Chunks: Chunks{{7}, {}, {8, 9}}, Proof: Proof{{1}, {2}}},
	} {
		b, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode[message](b); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	}
	for name, b := range map[string]string{
		"a null list": "A301F6024003 40", "an array": "A30180024003 40", "a cut command": "A301420001024003 40", "a cut string": "A3014002420002034 0",
		"half a hash": "A3014002400341AA", "a mask cut off": "A30144000101020240034 0",
	} {
		raw, err := hex.DecodeString(strings.ReplaceAll(b, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if m, err := Decode[message](raw); err == nil {
			t.Errorf("%s was taken for %+v", name, m)
		}
	}
	many := Chunks(make([][]byte, maxPacked+1))
	if _, err := Encode(message{Chunks: many}); err == nil {
		t.Error("a list too long was encoded")
	}
	if err := new(Chunks).UnmarshalBinary(make([]byte, 2*len(many))); err == nil {
		t.Error("a list too long was taken")
	}
}
