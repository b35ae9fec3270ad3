package dryrun

import (
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/scp02"
	"github.com/persoline/persoline/perso/script"
)

// channel is the host's end of what the script opened.
type channel interface {
	// wrap protects a command; read unwraps its answer, when it comes.
	wrap(cmd apdu.Command) (raw []byte, read func(answer []byte) ([]byte, apdu.SW, error), err error)
	// dek encrypts a value for the chip.
	dek(value []byte) ([]byte, error)
}

// channel03 is SCP03.
type channel03 struct{ host *scp.Host }

func (c channel03) wrap(cmd apdu.Command) ([]byte, func([]byte) ([]byte, apdu.SW, error), error) {
	raw, mark, err := c.host.Wrap(cmd)
	return raw, func(answer []byte) ([]byte, apdu.SW, error) {
		data, sw, err := c.host.UnwrapAt(mark, answer)
		if errors.Is(err, scp.ErrUnprotected) { // an error status has no MAC: the script says whether it is one that may come
			err = nil
		}
		return data, sw, err
	}, err
}

func (c channel03) dek(value []byte) ([]byte, error) { return c.host.EncryptDEK(value) }

// channel02 is SCP02, whose answers are not protected.
type channel02 struct{ host *scp02.Host }

func (c channel02) wrap(cmd apdu.Command) ([]byte, func([]byte) ([]byte, apdu.SW, error), error) {
	raw, err := c.host.Wrap(cmd)
	return raw, plainAnswer, err
}

func (c channel02) dek(value []byte) ([]byte, error) { return c.host.EncryptDEK(value) }

// channelADM is none: the chip gets what the script says.
type channelADM struct{}

func (channelADM) wrap(cmd apdu.Command) ([]byte, func([]byte) ([]byte, apdu.SW, error), error) {
	return cmd.Bytes(), plainAnswer, nil
}

func (channelADM) dek([]byte) ([]byte, error) {
	return nil, fmt.Errorf("encrypting a value without a channel: %w", ErrCannot)
}

func plainAnswer(answer []byte) ([]byte, apdu.SW, error) { return apdu.SWOf(answer) }

// protocolOf is what a script must open to reach the chips of a product.
func protocolOf(p product.Product) script.Protocol {
	switch p.Factory.SCP {
	case product.SCPNone:
		return script.ADM
	case product.SCP02:
		return script.SCP02
	}
	return script.SCP03
}

// open opens the channel of an act. The key set is the one that the chip says it used.
func (p *player) open(act int, c *script.Channel) error {
	switch c.Protocol {
	case script.ADM:
		p.channel = channelADM{} // the script's own VERIFY opens it
		return nil
	case script.SCP02:
		return p.open02(act, c)
	}
	return p.open03(act, c)
}

// initializeUpdate sends INITIALIZE UPDATE, and gives the answer's data.
func (p *player) initializeUpdate(act int, command apdu.Command) ([]byte, apdu.SW, error) {
	_, e, err := p.send(Entry{Act: act, Label: "initialize-update", Command: shown(command, nil), Expect: "9000", Raw: command.Bytes()})
	if err != nil {
		return nil, 0, err
	}
	return e.Answer, apdu.SW(e.SW), nil
}

// authenticate sends EXTERNAL AUTHENTICATE.
func (p *player) authenticate(act int, raw []byte) error {
	_, e, err := p.send(Entry{Act: act, Label: "external-authenticate", Command: fmt.Sprintf("%X <host cryptogram, MAC>", raw[:4]), Expect: "9000", Raw: raw})
	if err != nil {
		return err
	}
	if sw := apdu.SW(e.SW); !sw.OK() {
		return wrong("step %q: status %v, %s", e.Label, sw, sw.Meaning())
	}
	return nil
}

// keysFor are the maker's keys or the card's, by the version that the chip reports.
func (p *player) keysFor(kvn byte, kdd [10]byte) (scp.StaticKeys, error) {
	if p.makers = kvn == p.config.Product.Factory.KVN; !p.makers {
		return p.values.isd(), nil
	}
	keys, err := scp.DiversifyKDF3(master(), kdd)
	if err != nil {
		return keys, fmt.Errorf("diversifying the maker's key: %w", err)
	}
	return keys, nil
}

func (p *player) open03(act int, c *script.Channel) error {
	challenge := made("host challenge", 8)
	if c.S16 {
		challenge = made("host challenge", 16)
	}
	answer, sw, err := p.initializeUpdate(act, scp.InitUpdateCommand(c.KVN, challenge))
	if err != nil {
		return err
	}
	iu, err := scp.ParseInitUpdate(answer)
	if err != nil {
		return wrong("step %q: status %v: %w", "initialize-update", sw, err)
	}
	keys, err := p.keysFor(iu.KVN, iu.KDD)
	if err != nil {
		return err
	}
	host, err := scp.OpenHost(keys, challenge, iu)
	if err != nil {
		return wrong("step %q: %w", "initialize-update", err)
	}
	p.channel = channel03{host}
	raw, err := host.ExternalAuthenticate(scp.Level(c.Level))
	if err != nil {
		return wrong("step %q: %w", "external-authenticate", err)
	}
	return p.authenticate(act, raw)
}

func (p *player) open02(act int, c *script.Channel) error {
	challenge := [8]byte(made("host challenge", 8))
	answer, sw, err := p.initializeUpdate(act, scp02.InitUpdateCommand(c.KVN, challenge))
	if err != nil {
		return err
	}
	iu, err := scp02.ParseInitUpdate(answer)
	if err != nil {
		return wrong("step %q: status %v: %w", "initialize-update", sw, err)
	}
	keys, err := p.keysFor(iu.KVN, iu.KDD)
	if err != nil {
		return err
	}
	host, err := scp02.OpenHost(scp02.StaticKeys(keys), challenge, iu)
	if err != nil {
		return wrong("step %q: %w", "initialize-update", err)
	}
	p.channel = channel02{host}
	raw, err := host.ExternalAuthenticate(scp02.Level(c.Level))
	if err != nil {
		return wrong("step %q: %w", "external-authenticate", err)
	}
	return p.authenticate(act, raw)
}

// reopened judges the card cryptogram under the card's own keys.
func (p *player) reopened(data []byte) error {
	challenge := p.values.byName["CHALLENGE2"]
	if protocolOf(p.config.Product) == script.SCP02 {
		iu, err := scp02.ParseInitUpdate(data)
		if err == nil && len(challenge) == 8 {
			_, err = scp02.OpenHost(scp02.StaticKeys(p.values.isd()), [8]byte(challenge), iu)
		}
		return err
	}
	iu, err := scp.ParseInitUpdate(data)
	if err == nil {
		err = scp.VerifyCard(p.values.isd(), challenge, iu)
	}
	return err
}
