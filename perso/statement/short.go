package statement

import "github.com/persoline/persoline/perso"

// KindShort names the statement by which two officers end a lot short.
const KindShort = "lot-short"

// Short is what two officers sign when a lot is not to be made whole: no more chips come, or its order was cut. From then on no unit
// of it begins, as if its release had expired; what is good stays good, and the lot is counted, closed and handed out with that.
type Short struct {
	Header
	Lot     perso.Name
	Release [32]byte // hash of the lot's release
	Reason  string   // people's words
}

// Encode gives the body to sign.
func (s Short) Encode() ([]byte, error) {
	return s.write(KindShort).Str("lot", string(s.Lot)).Hex("release", s.Release[:]).Str("reason", s.Reason).Bytes()
}

// ParseShort reads the body.
func ParseShort(body []byte) (s Short, err error) {
	r, err := s.read(body, KindShort)
	if err != nil {
		return Short{}, err
	}
	s.Lot = r.Name("lot")
	s.Release, s.Reason = r.Hash("release"), said(r, "reason")
	return finished(s, r, KindShort)
}
