package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/site"
)

// TestReplacesNothingInVain: what an earlier demo made stays when the next one can't be.
func TestReplacesNothingInVain(t *testing.T) {
	t.Parallel()
	const catalogue = "../../../deploy"
	good := Options{Order: catalogue + "/samples/orders/small-20.json", Catalogue: catalogue, Heads: 2, Out: io.Discard}
	for name, edit := range map[string]func(o *Options){
		"no order":     func(o *Options) { o.Order = "none.json" },
		"bad order":    func(o *Options) { o.Order = catalogue + "/samples/bad/quantity-zero.json" },
		"no catalogue": func(o *Options) { o.Catalogue = "none" },
		"no heads":     func(o *Options) { o.Heads = 0 },
		"negative":     func(o *Options) { o.Scale = -1 },
		"running":      func(*Options) {},
	} {
		o := good
		o.Dir = filepath.Join(t.TempDir(), "demo")
		if err := errors.Join(os.Mkdir(o.Dir, 0o755), os.WriteFile(filepath.Join(o.Dir, marker), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		edit(&o)
		if name == "running" {
			held, err := site.Hold(o.Dir)
			if err != nil {
				t.Fatal(err)
			}
			defer runtime.KeepAlive(held) // who is collected holds nothing
		}
		err := Run(t.Context(), o)
		if err == nil || name == "running" && !errors.Is(err, site.ErrRunning) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(o.Dir, marker)); err != nil {
			t.Errorf("%s: the demo before is gone: %v", name, err)
		}
	}
}

// Each product that can be made has a sample order that makes it; the others say why there is none.
func TestSampleOfEachProduct(t *testing.T) {
	t.Parallel()
	const catalogue = "../../../deploy"
	cat, err := site.OrderCatalogue(catalogue)
	if err != nil {
		t.Fatal(err)
	}
	makeable := 0
	for _, sku := range cat.Products.SKUs() {
		p, _ := cat.Products.Get(sku)
		path, err := sampleOf(catalogue, sku, cat)
		switch {
		case !p.Makeable:
			if err == nil || !strings.Contains(err.Error(), p.Reason) {
				t.Errorf("%s: %v does not say %q", sku, err, p.Reason)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", sku, err)
			continue
		}
		makeable++
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, []byte(`"`+sku+`"`)) {
			t.Errorf("%s: %s is not its order, %v", sku, path, err)
		}
	}
	if makeable < 3 {
		t.Errorf("%d products can be made", makeable)
	}
	if _, err := sampleOf(catalogue, "m2m-200s-mf2", cat); err == nil || !strings.Contains(err.Error(), "m2m-200s-mff2") {
		t.Errorf("an unknown product: %v", err)
	}
}

// slowOffice answers only who waits as long as an export may take.
type slowOffice struct {
	began time.Time
	asked []string
}

func (o *slowOffice) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if end, bounded := ctx.Deadline(); !bounded || end.Sub(o.began) < stepPatience {
		return nil, bus.ErrNoAnswer
	}
	o.asked = append(o.asked, subject)
	return bus.Answer(func(context.Context, bus.LotRequest) (bus.PathReply, error) {
		return bus.PathReply{Paths: []string{"there"}}, nil
	})(ctx, data)
}

func (o *slowOffice) Close() error { return nil }

// TestStepsHaveTime: a step of a machine that is busy isn't given up after the few seconds that the bus gives a question.
func TestStepsHaveTime(t *testing.T) {
	t.Parallel()
	o := &slowOffice{began: time.Now()}
	d := &demo{office: o, lot: "L1"}
	err := d.export(t.Context())
	if err != nil || len(o.asked) != 2 || d.made.bundle != "there" {
		t.Errorf("handed out %v by %v: %v", d.made.paths, o.asked, err)
	}
}
