package pcsc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestHeader has the C compiler compare what this package says of libpcsclite with the library's own header.
func TestHeader(t *testing.T) {
	t.Parallel()
	const header = "/usr/include/PCSC/winscard.h"
	if _, err := os.Stat(header); err != nil {
		if slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), "pcscd") {
			t.Fatalf("pcscd is required by PERSO_TEST_REQUIRE, and %v", err)
		}
		t.Skipf("SKIP: no header to compare with: %v (Debian: libpcsclite-dev)", err)
	}
	own, err := filepath.Abs("library.h")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	fmt.Fprintf(&source, "#include <stddef.h>\n#include <winscard.h>\n#include %q\n", own)
	equal := func(theirs, ours string) {
		fmt.Fprintf(&source, "_Static_assert((%s) == (%s), %q);\n", theirs, ours, theirs)
	}
	equal("sizeof(SCARD_READERSTATE)", "sizeof(pcsc_state)")
	for theirs, ours := range map[string]string{"szReader": "reader", "pvUserData": "user", "dwCurrentState": "known", "dwEventState": "now", "cbAtr": "atr_length", "rgbAtr": "atr"} {
		equal("offsetof(SCARD_READERSTATE, "+theirs+")", "offsetof(pcsc_state, "+ours+")")
	}
	equal("sizeof(SCARD_IO_REQUEST)", "sizeof(pcsc_pci)")
	equal("offsetof(SCARD_IO_REQUEST, cbPciLength)", "offsetof(pcsc_pci, length)")
	for _, name := range []string{"LONG", "SCARDCONTEXT", "SCARDHANDLE", "DWORD"} {
		equal("sizeof("+name+")", "sizeof(long)")
	}
	for name, ours := range map[string]uint64{
		"SCARD_S_SUCCESS": uint64(success), "SCARD_E_CANCELLED": uint64(cancelled), "SCARD_E_INVALID_HANDLE": uint64(invalidHandle),
		"SCARD_E_UNKNOWN_READER": uint64(unknownReader), "SCARD_E_TIMEOUT": uint64(timedOut), "SCARD_E_SHARING_VIOLATION": uint64(sharingViolation),
		"SCARD_E_NO_SMARTCARD": uint64(noSmartcard), "SCARD_E_PROTO_MISMATCH": uint64(protoMismatch), "SCARD_F_COMM_ERROR": uint64(commError),
		"SCARD_E_NOT_TRANSACTED": uint64(notTransacted), "SCARD_E_READER_UNAVAILABLE": uint64(readerUnavailable), "SCARD_E_NO_SERVICE": uint64(noService),
		"SCARD_E_SERVICE_STOPPED": uint64(serviceStopped), "SCARD_E_NO_READERS_AVAILABLE": uint64(noReadersAvailable), "SCARD_E_COMM_DATA_LOST": uint64(commDataLost),
		"SCARD_W_UNSUPPORTED_CARD": uint64(unsupportedCard), "SCARD_W_UNRESPONSIVE_CARD": uint64(unresponsiveCard), "SCARD_W_UNPOWERED_CARD": uint64(unpoweredCard),
		"SCARD_W_RESET_CARD": uint64(resetCard), "SCARD_W_REMOVED_CARD": uint64(removedCard), "SCARD_W_SECURITY_VIOLATION": uint64(securityViolation),
		"SCARD_STATE_CHANGED": uint64(Changed), "SCARD_STATE_UNKNOWN": uint64(Unknown), "SCARD_STATE_UNAVAILABLE": uint64(Unavailable), "SCARD_STATE_EMPTY": uint64(Empty),
		"SCARD_STATE_PRESENT": uint64(Present), "SCARD_STATE_EXCLUSIVE": uint64(Exclusive), "SCARD_STATE_INUSE": uint64(InUse), "SCARD_STATE_MUTE": uint64(Mute),
		"SCARD_STATE_UNPOWERED": uint64(Unpowered), "SCARD_SCOPE_SYSTEM": 2, "SCARD_SHARE_EXCLUSIVE": shareExclusive, "SCARD_SHARE_SHARED": shareShared, "SCARD_SHARE_DIRECT": shareDirect,
		"SCARD_PROTOCOL_T0": protocolT0, "SCARD_PROTOCOL_T1": protocolT1, "SCARD_LEAVE_CARD": leaveCard, "SCARD_UNPOWER_CARD": unpowerCard,
		"PCSCLITE_MAX_READERS_CONTEXTS": MaxReaders, "MAX_BUFFER_SIZE_EXTENDED": maxAnswerBytes,
	} {
		equal("(unsigned int)"+name, fmt.Sprintf("%#xu", ours))
	}
	path := filepath.Join(t.TempDir(), "compare.c")
	if err := os.WriteFile(path, []byte(source.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "gcc", "-fsyntax-only", "-I", filepath.Dir(header), path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestCodes: each code that can come means one of the errors of the package.
func TestCodes(t *testing.T) {
	t.Parallel()
	for code, want := range map[Code]error{noService: ErrService, unknownReader: ErrReader, sharingViolation: ErrBusy, noSmartcard: ErrNoCard,
		unresponsiveCard: ErrMute, removedCard: ErrLost, notTransacted: ErrLost, 0x80100001: ErrCall} {
		if err := check("SCardX", int64(code)); err.(*Error).Unwrap() != want || !strings.Contains(err.Error(), fmt.Sprintf("%08X", uint32(code))) {
			t.Errorf("%08X means %v", uint32(code), err)
		}
	}
	if err := check("SCardX", 0); err != nil {
		t.Error(err)
	}
	if got := (Present | Exclusive | InUse | Changed).String(); got != "chip, held by one program" {
		t.Errorf("flags %q", got)
	}
}
