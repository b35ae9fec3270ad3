package bus

import (
	"bytes"
	"slices"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
)

// Verbs of the office towards the ledger.
const (
	OfficeSubmit  = "submit"
	OfficeKiPart  = "ki-part"
	OfficeOrder   = "order"
	OfficeOrders  = "orders"
	OfficeDraft   = "draft-release"
	OfficeRelease = "release"
	OfficeReceive = "receive"
	OfficeStatus  = "status"
	OfficeLots    = "lots"
	OfficeCount   = "count"
	OfficeClose   = "close"
	OfficeTrace   = "trace"
	OfficeExport  = "export"
	OfficeBundle  = "bundle"
	OfficeDestroy = "destroy-keys"
	OfficeClosing = "closing"
	OfficeReview  = "review"
	OfficeLog     = "log"
	OfficeInWork  = "in-work"
	OfficeLose    = "lose"
	OfficeBook    = "book"
	OfficeStock   = "stock"
	// OfficeWord hands in a signed statement by which people steer the work: see WordReply.
	OfficeWord     = "word"
	OfficeStanding = "standing"
	OfficeRestored = "draft-restored"
	OfficeRejects  = "rejects"
)

// SubmitRequest carries an order file as it was received, and names the file of Ki that comes with it, which was sent before.
type SubmitRequest struct {
	File []byte     `cbor:"1,keyasint"`
	Ki   *KiFileRef `cbor:"2,keyasint,omitempty"`
}

// KiFileRef names a customer's file of Ki (perso/order/kifile) by its content.
type KiFileRef struct {
	Hash [32]byte `cbor:"1,keyasint"` // SHA-256
	Size uint64   `cbor:"2,keyasint"`
}

// KiPartBytes is how much of a file one message carries.
const KiPartBytes = 512 << 10

// KiPartRequest carries a part of a customer's file of Ki: such a file may be larger than a message. Parts come in order; a
// part 0 begins anew.
type KiPartRequest struct {
	File KiFileRef `cbor:"1,keyasint"`
	At   uint64    `cbor:"2,keyasint"` // offset
	Data []byte    `cbor:"3,keyasint"`
}

// KiPartReply says how much of the file is there.
type KiPartReply struct {
	Have uint64 `cbor:"1,keyasint"`
}

// BlockNotCounted is what keeps a lot from closing until people report their count; its text stands among the blocks.
const BlockNotCounted = "nobody has counted the bins by hand"

// BlockCountAgain is what keeps a lot from closing whose first hand count differs: it does not say in what.
const BlockCountAgain = "the hand count differs from the ledger: count the bins again"

// BlockHidden stands for all that keeps a lot from closing and would tell who counts what to find.
const BlockHidden = "ledger and handler differ, or chips are not in their bins: hidden until counted"

// OrderFault is one thing that is wrong with an order file.
type OrderFault struct {
	Field  string `cbor:"1,keyasint" json:"field"`
	Line   int    `cbor:"2,keyasint" json:"line"`
	Reason string `cbor:"3,keyasint" json:"reason"`
	Hint   string `cbor:"4,keyasint" json:"hint,omitempty"`
	Column int    `cbor:"5,keyasint,omitempty" json:"column,omitempty"`
}

// SubmitReply says what became of it: accepted, known already, or refused with every fault.
type SubmitReply struct {
	Order     string       `cbor:"1,keyasint"`
	Hash      [32]byte     `cbor:"2,keyasint"`
	Lot       perso.Name   `cbor:"3,keyasint"` // name that the release will propose
	Duplicate bool         `cbor:"4,keyasint,omitempty"`
	Faults    []OrderFault `cbor:"5,keyasint,omitempty"`
	KiFaults  []OrderFault `cbor:"6,keyasint,omitempty"` // in the file of Ki; the order itself has none then
	Kept      uint64       `cbor:"7,keyasint,omitempty"` // as in DraftReply, by the policy of now
}

// OrderRequest names an order that is on record.
type OrderRequest struct {
	Order string `cbor:"1,keyasint"`
}

// OrderReply says what an order is, whether a release of it can be drafted or not.
type OrderReply struct {
	Order string           `cbor:"1,keyasint"`
	Hash  [32]byte         `cbor:"2,keyasint"` // of its content, as a release and the order desk name it
	State perso.OrderState `cbor:"3,keyasint"`
}

// OrdersRequest asks for the orders on record, without the first so many.
type OrdersRequest struct {
	Skip uint64 `cbor:"1,keyasint,omitempty"`
}

// MaxOrdersTold bounds the orders of one answer: some hundred bytes each.
const MaxOrdersTold = 500

// OrdersReply lists orders in the order in which they were taken in; More says that there are further ones.
type OrdersReply struct {
	Orders []OrderTold `cbor:"1,keyasint"`
	More   bool        `cbor:"2,keyasint,omitempty"`
}

// OrderTold is how an order stands. One whose content two officers had deleted has no customer and no product.
type OrderTold struct {
	Order    string           `cbor:"1,keyasint" json:"order"`
	State    perso.OrderState `cbor:"2,keyasint" json:"state"`
	TakenIn  time.Time        `cbor:"3,keyasint" json:"taken_in"`
	Customer string           `cbor:"4,keyasint,omitempty" json:"customer,omitempty"`
	Product  string           `cbor:"5,keyasint,omitempty" json:"product,omitempty"`
	Quantity uint64           `cbor:"6,keyasint" json:"quantity"`
	Spares   uint64           `cbor:"7,keyasint" json:"spares"`
	Lot      perso.Name       `cbor:"8,keyasint,omitempty" json:"lot,omitempty"` // empty until it is released
	LotState perso.LotState   `cbor:"9,keyasint,omitempty" json:"lot_state,omitempty"`
	Good     uint64           `cbor:"10,keyasint,omitempty" json:"good"`
	Deleted  bool             `cbor:"11,keyasint,omitempty" json:"content_deleted,omitempty"`
}

// DraftRequest asks for the release of an accepted order, to be signed by officers.
type DraftRequest struct {
	Order string `cbor:"1,keyasint"`
}

// DraftReply holds the body to sign, and says how many of the ordered units quality keeps at least: they are delivered to nobody.
type DraftReply struct {
	Body []byte `cbor:"1,keyasint"`
	Kept uint64 `cbor:"2,keyasint,omitempty"`
}

// SignedRequest carries an encoded statement.Signed.
type SignedRequest struct {
	Signed []byte `cbor:"1,keyasint"`
}

// LotReply names the lot that a statement concerned.
type LotReply struct {
	Lot perso.Name `cbor:"1,keyasint"`
}

// ReceiveRequest carries a goods-in file of chips.
type ReceiveRequest struct {
	File []byte `cbor:"1,keyasint"`
}

// ReceiveReply says what was received.
type ReceiveReply struct {
	Reel      perso.Name `cbor:"1,keyasint"`
	Chips     uint64     `cbor:"2,keyasint"`
	Duplicate bool       `cbor:"3,keyasint,omitempty"`
}

// BookRequest moves chips in the stock. Asked again with the same id it is one movement.
type BookRequest struct {
	ID      [32]byte      `cbor:"1,keyasint"`
	Product string        `cbor:"2,keyasint,omitempty"` // of chips without a reel
	Reel    perso.Name    `cbor:"3,keyasint,omitempty"`
	From    perso.Account `cbor:"4,keyasint"`
	To      perso.Account `cbor:"5,keyasint"`
	Chips   uint64        `cbor:"6,keyasint"` // 0 moves all of the reel that is there
	By      string        `cbor:"7,keyasint"`
}

// BookReply says what was moved, and how many of the same are in both accounts now.
type BookReply struct {
	Product   string `cbor:"1,keyasint"`
	Chips     uint64 `cbor:"2,keyasint"`
	Left      int64  `cbor:"3,keyasint"`
	There     int64  `cbor:"4,keyasint"`
	Duplicate bool   `cbor:"5,keyasint,omitempty"`
}

// WordReply says which statement was taken in. Unknown says of a freeze that nothing here has the name that it freezes: it is in force, and
// stops nothing yet. Untold are the vaults that were not told of it: they hear it before they go on. Those of them that are Apart hear nothing
// more from this ledger until somebody sees to it.
type WordReply struct {
	Kind      string   `cbor:"1,keyasint"`
	Hash      [32]byte `cbor:"2,keyasint"`
	Duplicate bool     `cbor:"3,keyasint,omitempty"`
	Unknown   bool     `cbor:"4,keyasint,omitempty"`

	Untold []perso.Name `cbor:"5,keyasint,omitempty"`
	Apart  []VaultApart `cbor:"6,keyasint,omitempty"`

	Unmanned []string `cbor:"7,keyasint,omitempty"` // after a revocation: as in StandingReply
}

// VaultApart is a vault that heard other words of officers than the ledger's log has.
type VaultApart struct {
	Vault perso.Name `cbor:"1,keyasint"`
	Why   string     `cbor:"2,keyasint"` // names the first word in which they differ, and what to do
}

// FrozenThing is an order, a lot, a line or a key that stands still.
type FrozenThing struct {
	What   string    `cbor:"1,keyasint"`
	Name   string    `cbor:"2,keyasint"`
	Reason string    `cbor:"3,keyasint"`
	Hash   [32]byte  `cbor:"4,keyasint"` // of the statement that froze it
	Since  time.Time `cbor:"5,keyasint"`
}

// StandingReply is what a draft of such a statement must name.
type StandingReply struct {
	Env    perso.Env     `cbor:"1,keyasint"`
	Site   perso.Name    `cbor:"2,keyasint"`
	Now    time.Time     `cbor:"3,keyasint"`
	Frozen []FrozenThing `cbor:"4,keyasint,omitempty"`
	Policy Policy        `cbor:"5,keyasint"`
	Lines  []perso.Name  `cbor:"6,keyasint,omitempty"` // of the site
	// Unmanned says what stands, or will, because nobody in the officer register can sign what it needs: lots under the policy, and lots at work.
	Unmanned []string `cbor:"7,keyasint,omitempty"`
}

// Policy is what every lot that is released now must go through (statement.Policy).
type Policy struct {
	FirstArticle uint64 `cbor:"1,keyasint,omitempty" json:"first_article"`
	Clearance    bool   `cbor:"2,keyasint,omitempty" json:"clearance"`
	Issue        bool   `cbor:"3,keyasint,omitempty" json:"issue"`
	Samples      string `cbor:"4,keyasint,omitempty" json:"samples,omitempty"` // statement.Sampling
	Blind        bool   `cbor:"5,keyasint,omitempty" json:"blind_count,omitempty"`
}

// RejectsReply lists chips that wait for their destruction, in the order of their bytes: an id of two pieces twice.
type RejectsReply struct {
	Env   perso.Env  `cbor:"1,keyasint"`
	Site  perso.Name `cbor:"2,keyasint"`
	Now   time.Time  `cbor:"3,keyasint"`
	Chips []string   `cbor:"4,keyasint,omitempty"`
	More  uint64     `cbor:"5,keyasint,omitempty"`
}

// RestoredRequest asks for the statement by which officers let a restored ledger issue identities again.
type RestoredRequest struct {
	Reason string `cbor:"1,keyasint"` // people's words
}

// RestoredReply is its text, to sign.
type RestoredReply struct {
	Body []byte `cbor:"1,keyasint"`
}

// StockRow is how many chips of one reel, or of none, an account holds.
type StockRow struct {
	Product string        `cbor:"1,keyasint" json:"product"`
	Reel    perso.Name    `cbor:"2,keyasint,omitempty" json:"reel,omitempty"`
	Account perso.Account `cbor:"3,keyasint" json:"account"`
	Chips   int64         `cbor:"4,keyasint" json:"chips"`
}

// StockReply lists the accounts that are not empty. All together they are zero.
type StockReply struct {
	Env  perso.Env  `cbor:"1,keyasint"`
	Rows []StockRow `cbor:"2,keyasint"`
	More uint64     `cbor:"3,keyasint,omitempty"` // rows beyond what a message takes
}

// LotRequest names a lot.
type LotRequest struct {
	Lot perso.Name `cbor:"1,keyasint"`
}

// ReasonCount is how often a verdict was given for a reason.
type ReasonCount struct {
	Verdict perso.Verdict `cbor:"1,keyasint" json:"verdict"`
	Reason  perso.Reason  `cbor:"2,keyasint" json:"reason"`
	Count   uint64        `cbor:"3,keyasint" json:"count"`
}

// StatusReply is a lot's state as the ledger holds it now.
type StatusReply struct {
	Env       perso.Env                `cbor:"1,keyasint" json:"environment"`
	Lot       perso.Name               `cbor:"2,keyasint" json:"lot"`
	Order     string                   `cbor:"3,keyasint" json:"order"`
	State     perso.LotState           `cbor:"4,keyasint" json:"state"`
	Ordered   uint64                   `cbor:"5,keyasint" json:"ordered"`
	Spares    uint64                   `cbor:"6,keyasint" json:"spares"`
	Good      uint64                   `cbor:"7,keyasint" json:"good"`
	Open      uint64                   `cbor:"8,keyasint" json:"in_work"`
	Lost      uint64                   `cbor:"9,keyasint" json:"lost"`
	EIDsUsed  uint64                   `cbor:"10,keyasint" json:"eids_used"` // of SIMs, which have none: chips begun
	Reasons   []ReasonCount            `cbor:"11,keyasint" json:"reasons"`
	Bins      map[perso.Verdict]uint64 `cbor:"12,keyasint" json:"bins"`
	Released  time.Time                `cbor:"13,keyasint" json:"released"`
	Completed time.Time                `cbor:"14,keyasint" json:"completed"`
	Now       time.Time                `cbor:"15,keyasint" json:"now"`
	LogSize   int64                    `cbor:"16,keyasint" json:"log_size"`
	Balance   *statement.Counts        `cbor:"17,keyasint,omitempty" json:"balance,omitempty"`
	Blocks    []string                 `cbor:"18,keyasint,omitempty" json:"blocks,omitempty"` // what keeps the lot from closing
	Troubles  []Trouble                `cbor:"19,keyasint,omitempty" json:"troubles,omitempty"`
	Vault     perso.Name               `cbor:"20,keyasint,omitempty" json:"vault,omitempty"` // that makes it, of a site with several
	Waits     string                   `cbor:"21,keyasint,omitempty" json:"waits,omitempty"` // what the lot waits for, and since when
	// MoreTroubles counts what Troubles has no room for, all of it younger.
	MoreTroubles uint64 `cbor:"22,keyasint,omitempty" json:"more_troubles,omitempty"`
	// Proof is what makes a unit of the lot good, and says when that trusts the line.
	Proof string `cbor:"23,keyasint" json:"proof"`
	// Policy is what the lot was released under, Approved says that quality signed its first article, HandCount is the hash of
	// the last hand count's log entry when it differs from the ledger and two persons may explain why.
	Policy    Policy   `cbor:"24,keyasint" json:"policy"`
	Approved  bool     `cbor:"25,keyasint,omitempty" json:"first_article_signed"`
	HandCount [32]byte `cbor:"26,keyasint" json:"-"`
	Samples   *Samples `cbor:"27,keyasint,omitempty" json:"samples,omitempty"` // of a lot whose policy asks for them
	// Hidden says that Bins, Reasons, Balance, Lost, EIDsUsed, the numbers of Blocks, and of Samples all but Drawn are left out until people
	// have counted.
	Hidden bool `cbor:"28,keyasint,omitempty" json:"hidden_until_counted,omitempty"`
	// Short says that two officers ended the lot short.
	Short bool `cbor:"29,keyasint,omitempty" json:"ended_short,omitempty"`
}

// Samples is how a lot stands with what quality examines.
type Samples struct {
	State  string `cbor:"1,keyasint" json:"state"`           // due, accepted or rejected
	Drawn  uint64 `cbor:"2,keyasint" json:"drawn"`           // so far
	InBin  uint64 `cbor:"3,keyasint" json:"put_into_bin"`    // of these
	Back   uint64 `cbor:"4,keyasint" json:"back_among_good"` // of these, by quality's word
	Kept   uint64 `cbor:"5,keyasint" json:"kept"`
	Failed uint64 `cbor:"6,keyasint" json:"failed"`
}

// Trouble is an act that the vault does not serve now: its head waits and asks again.
type Trouble struct {
	Present perso.Presentation `cbor:"1,keyasint" json:"present"`
	Chip    string             `cbor:"2,keyasint" json:"chip"`
	N       uint8              `cbor:"3,keyasint" json:"act"`
	Since   time.Time          `cbor:"4,keyasint" json:"since"`
	Tries   uint64             `cbor:"5,keyasint" json:"tries"` // since the ledger started
	Fault   string             `cbor:"6,keyasint" json:"fault"` // the vault's last word, or that there was none
	// Refused says that the vault refuses this act, and not that it can't serve it now: the head has stopped.
	Refused bool `cbor:"7,keyasint,omitempty" json:"refused,omitempty"`
}

// InWorkRequest asks for the units of a lot that have begun and not ended; with a chip id in hex, for that chip's unit.
type InWorkRequest struct {
	Lot  perso.Name `cbor:"1,keyasint"`
	Chip string     `cbor:"2,keyasint,omitempty"`
}

// InWorkReply lists them, and what a statement of their loss names beside.
type InWorkReply struct {
	Env     perso.Env    `cbor:"1,keyasint" json:"environment"`
	Site    perso.Name   `cbor:"2,keyasint" json:"site"`
	Lot     perso.Name   `cbor:"3,keyasint" json:"lot"`
	Release [32]byte     `cbor:"4,keyasint" json:"-"`
	Now     time.Time    `cbor:"5,keyasint" json:"now"`
	Units   []UnitInWork `cbor:"6,keyasint" json:"units"`
	More    bool         `cbor:"7,keyasint,omitempty" json:"more,omitempty"`
	Expires time.Time    `cbor:"8,keyasint" json:"release_expires"`
}

// UnitInWork is one unit in one generation on one chip.
type UnitInWork struct {
	Unit    perso.Unit         `cbor:"1,keyasint" json:"unit"`
	Gen     perso.Generation   `cbor:"2,keyasint" json:"gen"`
	Index   perso.EIDIndex     `cbor:"3,keyasint" json:"index"`
	EID     string             `cbor:"4,keyasint" json:"eid"`
	Chip    string             `cbor:"5,keyasint" json:"chip"`
	State   perso.UnitState    `cbor:"6,keyasint" json:"state"`
	Present perso.Presentation `cbor:"7,keyasint" json:"present"` // where its last session was
	Claim   [32]byte           `cbor:"8,keyasint" json:"-"`
	Session perso.Session      `cbor:"9,keyasint" json:"-"`
	Since   time.Time          `cbor:"10,keyasint" json:"since"`                     // of its last act
	Acts    uint8              `cbor:"11,keyasint" json:"acts"`                      // of that session
	Due     bool               `cbor:"12,keyasint,omitempty" json:"due"`             // the vault was asked for the verdict and has not given it
	Alarm   string             `cbor:"13,keyasint,omitempty" json:"alarm,omitempty"` // the last about the chip
	Sample  bool               `cbor:"14,keyasint,omitempty" json:"-"`               // it was drawn as a sample, and lies in their bin
	Stays   string             `cbor:"15,keyasint,omitempty" json:"-"`               // why officers cannot give up one that is good
}

// LoseReply says what the vault answered: that it gave the unit up, or that it had called it good before.
type LoseReply struct {
	Lot     perso.Name `cbor:"1,keyasint"`
	Unit    perso.Unit `cbor:"2,keyasint"`
	Good    bool       `cbor:"3,keyasint,omitempty"`
	Receipt []byte     `cbor:"4,keyasint"`
}

// LotsReply lists lots.
type LotsReply struct {
	Lots []StatusReply `cbor:"1,keyasint"`
	// Accepted are orders that wait for their release, the oldest first; Waiting counts them all.
	Accepted []string `cbor:"2,keyasint,omitempty"`
	Waiting  uint64   `cbor:"3,keyasint,omitempty"`
}

// TraceRequest asks for the life of a unit by EID, ICCID or chip id.
type TraceRequest struct {
	Key string `cbor:"1,keyasint"`
}

// TraceEntry is one log entry about it.
type TraceEntry struct {
	Seq  int64  `cbor:"1,keyasint" json:"seq"`
	Kind string `cbor:"2,keyasint" json:"kind"`
	Body []byte `cbor:"3,keyasint" json:"body"`
}

// TraceReply is everything the log holds about it, oldest first.
type TraceReply struct {
	Lot     perso.Name   `cbor:"1,keyasint" json:"lot"`
	Unit    perso.Unit   `cbor:"2,keyasint" json:"unit"`
	Entries []TraceEntry `cbor:"3,keyasint" json:"entries"`
	Reel    perso.Name   `cbor:"4,keyasint,omitempty" json:"reel,omitempty"` // of a chip in stock that no unit has
}

// PathReply says where on the ledger's host something was written.
type PathReply struct {
	Paths []string `cbor:"1,keyasint" json:"paths"`
	Units uint64   `cbor:"2,keyasint" json:"units"`
	Hash  [32]byte `cbor:"3,keyasint" json:"-"`
}

// ClosingReply is what a statement about the end of a lot's key must name.
type ClosingReply struct {
	Env     perso.Env  `cbor:"1,keyasint"`
	Site    perso.Name `cbor:"2,keyasint"`
	Lot     perso.Name `cbor:"3,keyasint"`
	Release [32]byte   `cbor:"4,keyasint"` // hash of the lot's release
	Close   [32]byte   `cbor:"5,keyasint"` // hash of its closing
	Now     time.Time  `cbor:"6,keyasint"`
	Gone    *GoneLot   `cbor:"7,keyasint,omitempty"` // once its key is destroyed
	Closed  time.Time  `cbor:"8,keyasint"`           // when it was closed, as the closing says
}

// GoneLot is what a statement must name by which the openings of a lot are deleted.
type GoneLot struct {
	Certificate [32]byte   `cbor:"1,keyasint"` // hash of the vault's certificate of deletion
	Good        uint64     `cbor:"2,keyasint"` // ordered units
	Proof       string     `cbor:"3,keyasint"` // by which they are good
	Asks        string     `cbor:"4,keyasint"` // what the order asked for
	Taken       [][32]byte `cbor:"5,keyasint"` // hashes of the order desk's words about the order
	Forgotten   bool       `cbor:"6,keyasint"` // they are deleted already
}

// DestroyReply holds the vault's certificate of deletion.
type DestroyReply struct {
	Lot         perso.Name `cbor:"1,keyasint"`
	Certificate []byte     `cbor:"2,keyasint"` // encoded signed statement.Destroyed
}

// ReviewReply says whose word about exceptions is on record.
type ReviewReply struct {
	By       []string `cbor:"1,keyasint"` // persons
	Reviewed uint64   `cbor:"2,keyasint"` // entries
}

// LogRequest asks for entries of the log: from a number on, or, with Last, the newest so many that are looked at. Kinds and Text
// narrow them: an entry is of one of the kinds, and has the text in it; empty means all.
type LogRequest struct {
	From  int64    `cbor:"1,keyasint"`
	Last  uint64   `cbor:"2,keyasint,omitempty"`
	Kinds []string `cbor:"3,keyasint,omitempty"`
	Text  string   `cbor:"4,keyasint,omitempty"`
}

// Wants reports whether an entry is asked for.
func (q LogRequest) Wants(e TraceEntry) bool {
	return (len(q.Kinds) == 0 || slices.Contains(q.Kinds, e.Kind)) && bytes.Contains(e.Body, []byte(q.Text))
}

// LogReply holds those that were found among the entries before Next, where the next question goes on; Size is the log's.
type LogReply struct {
	Entries []TraceEntry `cbor:"1,keyasint"`
	Next    int64        `cbor:"2,keyasint"`
	Size    int64        `cbor:"3,keyasint"`
}
