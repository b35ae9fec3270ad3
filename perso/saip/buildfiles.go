package saip

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso/tlv"
)

// template makes an element of files: those that the design names, those that must be there, and their directories.
func (b *builder) template(element, oid, context, headName string) error {
	t, _ := templateOf(tcaTemplates + oid)
	spec, _ := elementsSpec().named(element)
	m := members{"templateID": tcaTemplates + oid}
	var directory string // of the files that follow
	const head = 2       // header and template
	for _, f := range spec.spec.fields[head:] {
		tf, known := t.file(f.name)
		if !known {
			continue
		}
		if tf.kind.Directory() {
			directory = f.name
			if !f.optional {
				list, err := b.directory(tf, context)
				if err != nil {
					return err
				}
				m[f.name] = list
			}
			continue
		}
		list, err := b.file(context, tf, !f.optional)
		if err != nil {
			return fmt.Errorf("file %q: %w", context+"/"+f.name, err)
		}
		if list == nil {
			continue
		}
		m[f.name] = list
		if directory != "" && m[directory] == nil {
			d, _ := t.file(directory)
			if m[directory], err = b.directory(d, context); err != nil {
				return err
			}
		}
	}
	if !slices.Contains(b.templates, oid) {
		b.templates = append(b.templates, oid)
	}
	return b.add(element, headName+"-header", m)
}

// directory is a DF or ADF with the codes that protect it.
func (b *builder) directory(tf fileTemplate, context string) (items, error) {
	var status []byte
	for _, in := range slices.Compact([]string{context, "mf"}) {
		for _, c := range b.codesOf(in) {
			ref, err := hexNumber("PIN reference", c.Ref)
			if err != nil {
				return nil, err
			}
			status = append(status, byte(ref))
		}
	}
	fcp := members{"pinStatusTemplateDO": status}
	if tf.kind != ADF {
		return items{pick{"fileDescriptor", fcp}}, nil
	}
	i := slices.IndexFunc(b.design.Applications, func(a Application) bool { return a.Kind == context })
	aid, err := hexBytes("AID", b.design.Applications[i].AID, 0)
	if err != nil {
		return nil, err
	}
	fid, err := hexBytes("temporary file identifier", b.design.Applications[i].FID, 2)
	if err != nil {
		return nil, err
	}
	fcp["dfName"], fcp["fileID"] = aid, fid
	return items{pick{"fileDescriptor", fcp}}, nil
}

// file is one EF; nil where nothing is to be said of it.
func (b *builder) file(context string, tf fileTemplate, must bool) (items, error) {
	name := context + "/" + tf.name
	d, given := b.files[name]
	if given {
		b.used[name] = true
	}
	if d.Absent {
		return items{pick{"doNotCreate", flag(true)}}, nil
	}
	content, err := b.content(name, tf, d)
	if err != nil || !given && !must && content == nil {
		return nil, err
	}
	if content == nil && !given && tf.content == "" {
		return nil, fmt.Errorf("the template has no content for it, and the design gives none")
	}
	f, fcp, err := b.control(tf, d, content)
	if err != nil {
		return nil, err
	}
	b.berTLV = b.berTLV || tf.kind == BERTLV
	if len(d.Services) > 0 { // what a table doesn't say would be FF: available
		content[0] = append(content[0], make([]byte, max(f.Size-len(content[0]), 0))...)
	}
	list := items{}
	if len(fcp) > 0 {
		list = append(list, pick{"fileDescriptor", fcp})
	}
	end := 0
	for i, part := range content {
		start := i * f.RecordSize
		if len(part) == 0 {
			continue
		}
		if start > end {
			list = append(list, pick{"fillFileOffset", start - end})
		}
		list, end = append(list, pick{"fillFileContent", part}), start+len(part)
	}
	if end > f.Size {
		return nil, fmt.Errorf("content of %d bytes for a file of %d", end, f.Size)
	}
	return list, nil
}

// control says the parameters that differ from the template.
func (b *builder) control(tf fileTemplate, d FileDesign, content [][]byte) (*File, members, error) {
	f, fcp := &File{RecordSize: tf.size}, members{}
	if d.Record > 0 {
		f.RecordSize = d.Record
	}
	f.Size = tf.size
	if tf.kind.Records() {
		if f.RecordSize == 0 {
			f.RecordSize = longest(content)
		}
		f.Size = max(tf.records, len(content)) * f.RecordSize
		if tf.records > 0 && len(content) <= tf.records {
			f.Size = tf.records * f.RecordSize
		}
	} else {
		f.RecordSize = 0
	}
	if f.Size == 0 && !tf.kind.Records() && len(content) > 0 {
		f.Size = len(content[0])
	}
	if d.Size > 0 {
		f.Size = d.Size
	}
	if f.Size == 0 {
		return nil, nil, fmt.Errorf("the template leaves the size open, and the design gives none")
	}
	if f.Size != tf.size*max(tf.records, 1) || tf.kind.Records() && f.RecordSize != tf.size {
		fcp["efFileSize"] = trimZeros(f.Size)
	}
	if tf.kind.Records() && f.RecordSize != tf.size {
		structure := byte(0x42)
		if tf.kind == Cyclic {
			structure = 0x46
		}
		fcp["fileDescriptor"] = []byte{structure, 0x21, byte(f.RecordSize >> 8), byte(f.RecordSize)}
	}
	if d.FID != "" {
		fid, err := hexBytes("file identifier", d.FID, 2)
		if err != nil {
			return nil, nil, err
		}
		fcp["fileID"] = fid
	}
	if d.Rule > 0 {
		fcp["securityAttributesReferenced"] = []byte{byte(d.Rule)}
	}
	return f, fcp, nil
}

// trimZeros is a size on as few bytes as it needs.
func trimZeros(n int) []byte {
	const oneByte = 0xFF
	if n > oneByte {
		return []byte{byte(n >> 8), byte(n)}
	}
	return []byte{byte(n)}
}

func longest(all [][]byte) (n int) {
	for _, one := range all {
		n = max(n, len(one))
	}
	return n
}

// content is what a file holds, by record or whole: what every profile has in it, else what the design says. Nil is
// nothing.
func (b *builder) content(name string, tf fileTemplate, d FileDesign) ([][]byte, error) {
	own, err := d.contents(b.design.Home)
	if err != nil {
		return nil, err
	}
	switch name {
	case "mf/ef-iccid":
		return [][]byte{make([]byte, iccidBytes)}, nil
	case "usim/ef-imsi":
		ef := b.imsi.EFBytes()
		return [][]byte{ef[:]}, nil
	case "usim/ef-acc":
		return [][]byte{make([]byte, accBytes)}, nil
	case "mf/ef-dir":
		return b.directoryEntries()
	case "usim/ef-ad":
		return [][]byte{{0x00, 0x00, 0x00, byte(len(b.design.Home.MNC))}}, nil
	}
	if tf.name == "ef-arr" {
		return b.rules, nil
	}
	return own, nil
}

// directoryEntries are the records of EF.DIR (ETSI TS 102 221 clause 13.1).
func (b *builder) directoryEntries() (records [][]byte, err error) {
	const template, aidTag, labelTag = 0x61, 0x4F, 0x50
	for _, a := range b.design.Applications {
		aid, err := hexBytes("AID", a.AID, 0)
		if err != nil {
			return nil, err
		}
		records = append(records, tlv.Encode(template, tlv.Encode(aidTag, aid), tlv.Encode(labelTag, []byte(a.Label))))
	}
	return records, nil
}

// ruleOf reads an access rule in words, as "read always; update pin1; delete activate deactivate adm1": acts, and then the
// code that allows them (ETSI TS 102 221 clause 9.2).
func ruleOf(text string) ([]byte, error) {
	var rule []byte
	for clause := range strings.SplitSeq(text, ";") {
		words := strings.Fields(clause)
		if len(words) < 2 {
			return nil, fmt.Errorf("%q is not acts and a condition", clause)
		}
		condition, err := conditionOf(words[len(words)-1])
		if err != nil {
			return nil, err
		}
		acts, err := actsOf(words[:len(words)-1])
		if err != nil {
			return nil, err
		}
		rule = append(append(rule, acts...), condition...)
	}
	return rule, nil
}

// acts are bits of an access mode; of a directory or of a file.
var acts = map[string]byte{
	"read": 0x01, "update": 0x02, "deactivate": 0x08, "activate": 0x10, "delete": 0x40,
	"delete-child": 0x01, "create-ef": 0x02, "create-df": 0x04, "terminate": 0x20,
}

func actsOf(words []string) ([]byte, error) {
	const modeTag, instructionTag, increase = 0x80, 0x84, 0x32
	if slices.Equal(words, []string{"increase"}) {
		return tlv.Encode(instructionTag, []byte{increase}), nil
	}
	mask := byte(0)
	for _, w := range words {
		if acts[w] == 0 {
			return nil, fmt.Errorf("%q is no act: read, update, deactivate, activate, delete, increase, or of a directory delete-child, create-ef, create-df, terminate", w)
		}
		mask |= acts[w]
	}
	return tlv.Encode(modeTag, []byte{mask}), nil
}

// keyReferences are the codes that conditions name.
var keyReferences = map[string]byte{"pin1": 0x01, "pin2": 0x81, "adm1": 0x0A, "adm2": 0x0B, "adm3": 0x0C}

func conditionOf(word string) ([]byte, error) {
	const always, never, keyTag, orTag = 0x90, 0x97, 0xA4, 0xA0
	switch word {
	case "always":
		return tlv.Encode(always), nil
	case "never":
		return tlv.Encode(never), nil
	}
	var parts [][]byte
	for name := range strings.SplitSeq(word, "/") {
		ref := keyReferences[name]
		if ref == 0 {
			return nil, fmt.Errorf("%q is no condition: always, never, or codes with / between them: pin1, pin2, adm1, adm2, adm3", word)
		}
		parts = append(parts, tlv.Encode(keyTag, []byte{0x83, 0x01, ref, 0x95, 0x01, 0x08}))
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return tlv.Encode(orTag, bytes.Join(parts, nil)), nil
}
