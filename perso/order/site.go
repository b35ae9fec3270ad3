package order

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/form"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/profile"
)

const (
	// MaxPartners bounds the partner files of a site.
	MaxPartners = 500
	// MaxPartnerFileBytes bounds one of them; a provider with twenty keys has 2 KiB.
	MaxPartnerFileBytes = 64 << 10
	// MaxAddressingBytes is what fits, with its DGI header, in one STORE DATA at security level 33.
	MaxAddressingBytes = 200
	// MaxPoolNumbers bounds a pool: a hundred of the largest orders.
	MaxPoolNumbers = 100 * MaxQuantity
	// MaxSPNChars is the length of EF.SPN without its first byte (TS 31.102 clause 4.2.12).
	MaxSPNChars = 16
)

// Site is who this maker is and whom it works with. It does not change after it was loaded.
type Site struct {
	EUM EUM

	smsrByID     map[perso.Name]SMSR
	providerByID map[perso.Name]Provider
	targetByID   map[perso.Name]Target
	receiverByID map[perso.Name]k4.Receiver
}

// EUM is the maker itself, as it appears in EIS and certificates.
type EUM struct {
	ID      perso.Name
	Name    string
	OID     OID
	IIN     string      // first 8 digits of each EID
	EIDPool id.EIDRange // to allocate from
}

// SMSR is a subscription manager (SGP.02) that receives EIS.
type SMSR struct {
	ID         perso.Name
	Name       string
	OID        OID
	Endpoint   string     // https address of its ES1 interface
	Addressing []byte     // read only: how an eUICC reaches it, BER-TLVs A3, A4, A5 (DGI 3A07)
	WrapKey    perso.Name // vault key that wraps ISD-R keys for it
}

// Provider is the operator of the bootstrap subscription.
type Provider struct {
	ID       perso.Name
	Name     string
	MNOOID   OID
	SMDPOID  OID    // SM-DP of the profile; zero when none is named
	SPN      string // for EF.SPN, at most 16 characters of the GSM default alphabet that are also ASCII
	PLMN     string // MCC and MNC, 5 or 6 digits
	ICCIDIIN string // first digits of each ICCID

	OPKeys        []auth.Held   // read only
	TransportKeys []k4.Held     // read only
	Profile       perso.Name    // package of its bootstrap profile; none when empty
	POL1          *profile.POL1 // policy rules that its profiles get; nil leaves a package's own
	ReceiveKeys   []perso.Name  // read only: vault keys that its own Ki may come under; none when it sends no Ki
	ICCIDPool     id.ICCIDRange
	IMSIPool      id.IMSIRange
}

// MNCDigits is the length of the network code, 2 or 3.
func (p Provider) MNCDigits() int { return len(p.PLMN) - 3 }

// EFSPN is the content of EF.SPN (TS 31.102 clause 4.2.12): the registered network is displayed too, then the name,
// filled up with FF.
func (p Provider) EFSPN() (ef [1 + MaxSPNChars]byte) {
	const displayNetwork = 0x01
	for i := range ef {
		ef[i] = 0xFF
	}
	ef[0] = displayNetwork
	copy(ef[1:], p.SPN)
	return ef
}

// Target is where output files go: a folder of that name in the site's delivery folder.
type Target struct {
	ID        perso.Name
	Name      string
	Directory perso.Name
}

// SMSR looks a subscription manager up.
func (s Site) SMSR(key perso.Name) (SMSR, bool) { v, ok := s.smsrByID[key]; return v, ok }

// Provider looks a bootstrap provider up.
func (s Site) Provider(key perso.Name) (Provider, bool) { v, ok := s.providerByID[key]; return v, ok }

// Target looks a delivery target up.
func (s Site) Target(key perso.Name) (Target, bool) { v, ok := s.targetByID[key]; return v, ok }

// Receiver looks the public key of a receiver of envelopes up, by the name of the transport key.
func (s Site) Receiver(key perso.Name) (k4.Receiver, bool) {
	v, ok := s.receiverByID[key]
	return v, ok
}

// SMSRs lists the SM-SRs by id.
func (s Site) SMSRs() []SMSR { return inOrder(s.smsrByID) }

// Providers lists the bootstrap providers by id.
func (s Site) Providers() []Provider { return inOrder(s.providerByID) }

func inOrder[T any](m map[perso.Name]T) []T {
	out := make([]T, 0, len(m))
	for _, id := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[id])
	}
	return out
}

func (s Site) smsrs() []perso.Name     { return slices.Sorted(maps.Keys(s.smsrByID)) }
func (s Site) providers() []perso.Name { return slices.Sorted(maps.Keys(s.providerByID)) }
func (s Site) targets() []perso.Name   { return slices.Sorted(maps.Keys(s.targetByID)) }

// LoadSite reads every .json file at the top of a folder, each one partner. There must be exactly one EUM. All bad files
// are reported together.
func LoadSite(dir fs.FS) (Site, error) {
	names, err := fs.Glob(dir, "*.json")
	if err != nil {
		return Site{}, fmt.Errorf("listing the partner folder: %w", err)
	}
	if len(names) > MaxPartners {
		return Site{}, fmt.Errorf("loading the partners: %d files, at most %d", len(names), MaxPartners)
	}
	s := Site{smsrByID: map[perso.Name]SMSR{}, providerByID: map[perso.Name]Provider{}, targetByID: map[perso.Name]Target{},
		receiverByID: map[perso.Name]k4.Receiver{}}
	var faults []error
	for _, name := range names {
		if err := s.loadFile(dir, name); err != nil {
			faults = append(faults, fmt.Errorf("loading partner file %q: %w", path.Base(name), err))
		}
	}
	if s.EUM.ID == "" && len(faults) == 0 {
		faults = append(faults, errors.New("loading the partners: no file of kind eum"))
	}
	faults = append(faults, s.overlaps()...)
	if len(faults) == 0 {
		faults = s.receivers()
	}
	if len(faults) > 0 {
		return Site{}, errors.Join(faults...)
	}
	return s, nil
}

func (s *Site) loadFile(dir fs.FS, name string) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(s.add(f, strings.TrimSuffix(path.Base(name), ".json")), f.Close())
}

// add reads one partner, whose id must be the name of its file: so no two have one id.
func (s *Site) add(r io.Reader, fileName string) error {
	doc, err := form.Read(r, MaxPartnerFileBytes)
	if err != nil {
		return err
	}
	top := doc.Top()
	if v := top.Int("version", 0, MaxPartners); v != fileVersion && !top.Faulty("version") {
		top.Fault("version", fmt.Sprintf("is %d, this release reads %d", v, fileVersion), "")
	}
	kind := form.Field(top, "kind", form.OneOf("eum", "sm-sr", "bootstrap-provider", "delivery-target", "receiver-key"))
	key := form.Field(top, "id", perso.ParseName)
	name := form.Field(top, "name", form.Label(maxCustomerChars))
	if string(key) != fileName && !top.Faulty("id") {
		top.Fault("id", fmt.Sprintf("is %q in a file named %q", key, fileName+".json"), "the file is named by its id")
	}
	keep := func() {}
	switch kind {
	case "eum":
		v := readEUM(top, key, name)
		if s.EUM.ID != "" {
			top.Fault("kind", fmt.Sprintf("a second EUM beside %q", s.EUM.ID), "a site is one EUM")
		}
		keep = func() { s.EUM = v }
	case "sm-sr":
		v := readSMSR(top, key, name)
		keep = func() { s.smsrByID[key] = v }
	case "bootstrap-provider":
		v := readProvider(top, key, name)
		keep = func() { s.providerByID[key] = v }
	case "delivery-target":
		v := Target{ID: key, Name: name, Directory: form.Field(top, "directory", perso.ParseName)}
		keep = func() { s.targetByID[key] = v }
	case "receiver-key":
		v := readReceiver(top)
		keep = func() { s.receiverByID[key] = v }
	}
	if kind != "" {
		top.Close()
	}
	if err := doc.Err(); err != nil {
		return err
	}
	keep()
	return nil
}

// receivers finds RSA transport keys whose public key nobody sent.
func (s *Site) receivers() (faults []error) {
	for _, p := range s.Providers() {
		for _, k := range p.TransportKeys {
			if _, known := s.receiverByID[k.Name]; !known && k.Kind == k4.RSA {
				faults = append(faults, fmt.Errorf("loading partner file %q: transport_keys: %q needs a file %q of kind receiver-key with the public key", string(p.ID)+".json", k, string(k.Name)+".json"))
			}
		}
	}
	return faults
}

// overlaps finds pools that share numbers: two providers would hand out one identity.
func (s *Site) overlaps() (faults []error) {
	keys := s.providers()
	for i, a := range keys {
		for _, b := range keys[i+1:] {
			pa, pb := s.providerByID[a], s.providerByID[b]
			if pa.ICCIDPool.Overlaps(pb.ICCIDPool) || pa.IMSIPool.Overlaps(pb.IMSIPool) {
				faults = append(faults, fmt.Errorf("comparing pools: providers %q and %q share numbers", a, b))
			}
		}
	}
	return faults
}
