package natsbus

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/persoline/persoline/perso/bus"
)

// TestPermissions asks the server itself: after each try it does something that is surely forbidden, and looks whether that
// is the first thing the server complains about.
func TestPermissions(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b")
	const hash = "00ff"
	for user, try := range map[string]struct{ publish, listen, mayNotPublish, mayNotListen []string }{
		LineUser("a"): {
			publish: []string{
				bus.LineSubject("a", bus.LineAct), bus.LineSubject("a", verbParked),
				"$JS.API.CONSUMER.MSG.NEXT.WORK.a", "$JS.API.CONSUMER.INFO.WORK.a",
				"$JS.ACK.WORK.a.1.1.1.1.1", "$JS.ACK.hub.HASH.WORK.a.1.1.1.1.1.x", "$JS.API.DIRECT.GET.BLOB.perso.blob." + hash + ".0",
			},
			listen: []string{"_INBOX_line-a.x.*", "_INBOX_line-a.>"},
			mayNotPublish: []string{
				bus.LineSubject("b", bus.LineAct), bus.VaultSubject("v", bus.VaultServe), bus.OfficeSubject("release"), "perso.work.a",
				"perso.blob." + hash + ".0", bus.HereLedger, bus.HereVault("v"), "_INBOX_line-b.x", "_INBOX_ledger.x",
				"$JS.API.CONSUMER.MSG.NEXT.WORK.b", "$JS.API.CONSUMER.INFO.WORK.b", "$JS.ACK.WORK.b.1.1.1.1.1",
				"$JS.ACK.hub.HASH.WORK.b.1.1.1.1.1.x", "$JS.API.CONSUMER.CREATE.WORK.x", "$JS.API.CONSUMER.DELETE.WORK.a",
				"$JS.API.STREAM.DELETE.WORK", "$JS.API.STREAM.PURGE.WORK", "$JS.API.STREAM.MSG.GET.WORK",
				"$JS.API.DIRECT.GET.PARKED.x",
				"$JS.API.INFO", "$SRV.PING", "$SYS.REQ.SERVER.PING",
			},
			mayNotListen: []string{
				"_INBOX_line-b.>", "_INBOX_ledger.>", "_INBOX_*.>", ">", "perso.>", bus.LineSubject("a", ">"), "perso.work.a",
				"perso.vault.>", "$JS.EVENT.>", "$SRV.PING",
			},
		},
		UserVault: {
			publish:       []string{bus.HereVault("v")},
			listen:        []string{bus.VaultSubject("v", bus.VaultServe), "perso.vault.>", "$SRV.PING.vault", bus.HereVault("*")},
			mayNotPublish: []string{bus.HereLedger, bus.VaultSubject("v", "x"), bus.LineSubject("a", bus.LineAct), "$JS.API.INFO", "_INBOX_ledger.x"},
			mayNotListen:  []string{bus.LineWildcard(bus.LineAct), "perso.office.>", "_INBOX_ledger.>", "$SRV.PING.ledger", ">"},
		},
		UserOffice: {
			publish:       []string{bus.OfficeSubject("release"), "$SRV.PING"},
			listen:        []string{"_INBOX_office.>"},
			mayNotPublish: []string{bus.VaultSubject("v", "x"), bus.LineSubject("a", bus.LineAct), "$JS.API.INFO", "perso.work.a"},
			mayNotListen:  []string{"perso.office.>", "perso.vault.>", "_INBOX_ledger.>", ">"},
		},
		UserLedger: {
			publish:       []string{bus.VaultSubject("v", bus.VaultServe), "perso.work.a", "$JS.API.STREAM.INFO.WORK"},
			listen:        []string{bus.LineWildcard(bus.LineAct), "perso.office.>", "_INBOX_ledger.>", "$JS.EVENT.ADVISORY.>"},
			mayNotPublish: []string{bus.HereVault("v"), bus.OfficeSubject("x"), bus.LineSubject("a", bus.LineAct), "_INBOX_line-a.x"},
			mayNotListen:  []string{"perso.vault.>", "_INBOX_line-a.>", "$SYS.>", ">"},
		},
	} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			u := s.probe(t, user)
			for _, subject := range try.publish {
				u.want(t, "publish", subject, true)
			}
			for _, subject := range try.mayNotPublish {
				u.want(t, "publish", subject, false)
			}
			for _, subject := range try.listen {
				u.want(t, "listen", subject, true)
			}
			for _, subject := range try.mayNotListen {
				u.want(t, "listen", subject, false)
			}
		})
	}
}

const forbidden = "surely.forbidden"

// probe is a bare connection that hears every complaint of the server.
type probe struct {
	nc         *nats.Conn
	complaints chan error
}

func (s *site) probe(t *testing.T, user string) probe {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(SeedFile(s.dir, user))
	if err != nil {
		t.Fatal(err)
	}
	u := probe{complaints: make(chan error, 8)}
	listen := nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { u.complaints <- err })
	u.nc, err = nats.Connect(s.srv.URL(), key, listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.nc.Close)
	return u
}

func (u probe) want(t *testing.T, verb, subject string, allowed bool) {
	t.Helper()
	var err error
	if verb == "publish" {
		err = u.nc.Publish(subject, []byte("{}"))
	} else {
		_, err = u.nc.Subscribe(subject, func(*nats.Msg) {})
	}
	if err = errors.Join(err, u.nc.Publish(forbidden, nil), u.nc.Flush()); err != nil {
		t.Fatal(err)
	}
	heard := 0
	for { // the server complains in order, and last of what is surely forbidden
		complaint := <-u.complaints
		if !errors.Is(complaint, nats.ErrPermissionViolation) {
			t.Fatalf("%s %q: %v", verb, subject, complaint)
		}
		if strings.Contains(complaint.Error(), forbidden) {
			break
		}
		heard++
	}
	if (heard == 0) != allowed {
		t.Errorf("%s %q: %d complaints, want allowed %v", verb, subject, heard, allowed)
	}
}
