package saip

// The coding of SAIP's byte of algorithm options is not public. What follows is how this project's packages and chips have it (own):
// the low three bits are the length of RES, 0 for the algorithm's usual one, else 2 is 8 bytes, and 1, 3, 4 are 4, 16, 32; of TUAK, 20 and
// 40 make CK and IK 32 bytes long. TS.48 has 02.
const (
	optionRES    = 0x07
	optionLongCK = 0x20
	optionLongIK = 0x40

	shortResult, longResult = 16, 32
)

func resultLengths() []int { return []int{8, 4, 8, 16, 32} }

// Results are the lengths of RES, CK and IK in bytes by the options; not ok when the options or the algorithm have none.
func (a AKA) Results() (res, ck, ik int, ok bool) {
	all := resultLengths()
	n := int(a.Options & optionRES)
	if n >= len(all) || a.Algorithm == Milenage && all[n] != all[0] {
		return 0, 0, 0, false
	}
	res, ck, ik = all[n], shortResult, shortResult
	if a.Algorithm == TUAK && a.Options&optionLongCK != 0 {
		ck = longResult
	}
	if a.Algorithm == TUAK && a.Options&optionLongIK != 0 {
		ik = longResult
	}
	return res, ck, ik, true
}

// OptionsOf are the options for results of so many bytes.
func OptionsOf(res, ck, ik int) byte {
	var options byte = 2
	for n, length := range resultLengths() {
		if n > 0 && length == res {
			options = byte(n)
		}
	}
	if ck == longResult {
		options |= optionLongCK
	}
	if ik == longResult {
		options |= optionLongIK
	}
	return options
}
