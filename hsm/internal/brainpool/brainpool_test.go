package brainpool

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestGroup: the parameters are those of a curve whose generator has the order
// that they say.
func TestGroup(t *testing.T) {
	t.Parallel()
	c := P256r1()
	if _, err := c.Parse(c.g.Bytes()); err != nil {
		t.Error(err)
	}
	if !c.n.ProbablyPrime(20) || !c.p.ProbablyPrime(20) {
		t.Error("order or field is not prime")
	}
	if end := c.BaseMult(c.n); end.X != nil || end.Bytes() != nil {
		t.Error("the generator has another order")
	}
	minus := c.BaseMult(new(big.Int).Sub(c.n, big.NewInt(1)))
	if minus.X.Cmp(c.g.X) != 0 || c.add(minus, c.g).X != nil {
		t.Error("-G is not the inverse of G")
	}
	// RFC 7027, appendix A.1: the key pair of party A.
	d, _ := new(big.Int).SetString("81DB1EE100150FF2EA338D708271BE38300CB54241D79950F77B063039804F1D", 16)
	want := "44106e913f92bc02a1705d9953a8414db95e1aaa49e81d9e85f929a8e3100be5" + "8ab4846f11caccb73ce49cbdd120f5a900a69fd32c272223f789ef10eb089bdc"
	if got := c.BaseMult(d).Bytes(); hex.EncodeToString(got[1:]) != want {
		t.Errorf("d times G is %x, want %s", got, want)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	c := P256r1()
	good := c.BaseMult(big.NewInt(7)).Bytes()
	for name, bad := range map[string][]byte{
		"empty": nil, "short": good[:64], "compressed": append([]byte{2}, good[1:33]...),
		"off the curve": append(slices.Clone(good[:64]), good[64]^1), "zeros": make([]byte, 65),
		"outside the field": append([]byte{4}, bytes.Repeat([]byte{0xFF}, 64)...),
	} {
		if _, err := c.Parse(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestVerify: what openssl signs is verified, and nothing that differs from it.
func TestVerify(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		if slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), "openssl") {
			t.Fatal("openssl not installed, but PERSO_TEST_REQUIRE asks for it")
		}
		t.Skip("SKIP: openssl not installed")
	}
	dir := t.TempDir()
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("openssl %v: %v", args, err)
		}
		return out
	}
	digest := bytes.Repeat([]byte{0x5A}, 32)
	if err := os.WriteFile(filepath.Join(dir, "digest"), digest, 0o600); err != nil {
		t.Fatal(err)
	}
	run("ecparam", "-name", "brainpoolP256r1", "-genkey", "-noout", "-out", "key")
	block, _ := pem.Decode(run("ec", "-in", "key", "-pubout", "-conv_form", "uncompressed"))
	point := block.Bytes[len(block.Bytes)-PointBytes:]
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(run("pkeyutl", "-sign", "-inkey", "key", "-in", "digest"), &sig); err != nil {
		t.Fatal(err)
	}
	raw := append(sig.R.FillBytes(make([]byte, 32)), sig.S.FillBytes(make([]byte, 32))...)
	c := P256r1()
	q, err := c.Parse(point)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Verify(q, digest, raw) {
		t.Error("openssl's signature is refused")
	}
	for i := range raw {
		raw[i] ^= 1
		if c.Verify(q, digest, raw) {
			t.Errorf("signature with byte %d changed is accepted", i)
		}
		raw[i] ^= 1
	}
	digest[0] ^= 1
	if c.Verify(q, digest, raw) || c.Verify(q, digest, make([]byte, 64)) || c.Verify(q, digest[:31], raw) {
		t.Error("another digest, zeros or a short digest is accepted")
	}
}
