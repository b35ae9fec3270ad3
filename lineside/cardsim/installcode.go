package cardsim

import (
	"bytes"
	"slices"

	"github.com/persoline/persoline/perso/saip"
)

// code takes the load files and applications of a package into the ISD-P's part of the registry, under the same conditions as LOAD and
// INSTALL, and like them keeps of code only what it is. They go with the ISD-P.
func (in *installer) code() (peStatus, bool) {
	var files, instances int
	for _, l := range in.chip.Code {
		if l.File != nil {
			if files++; files > maxLoadFiles {
				return peStatus{status: peNoMemory, pe: l.PE}, false
			}
			if why := in.loadFile(l.File, files); why != "" {
				return peStatus{status: peBadParameter, pe: l.PE, text: why}, false
			}
		}
		for _, one := range l.Instances {
			if instances++; instances > maxInstances {
				return peStatus{status: peNoMemory, pe: l.PE}, false
			}
			if why := in.instance(one, instances); why != "" {
				return peStatus{status: peBadParameter, pe: l.PE, text: why}, false
			}
		}
	}
	return peStatus{}, true
}

// loadFile gives the reason of a refusal, or nothing.
func (in *installer) loadFile(f *saip.LoadFile, number int) string {
	pkg, modules, ok := readCAP(f.Code)
	switch {
	case !ok || !bytes.Equal(pkg, f.AID):
		return "code that is no load file of this name"
	case !hashFits(f.Hash, f.Code):
		return "code of another hash"
	case in.taken(f.AID):
		return "a name that is in use"
	}
	in.loaded = append(in.loaded, loadFileEntry{aid: f.AID, modules: modules})
	in.all.put(cellOf(in.d, kindLoadFile, uint16(number)), loadFileValue(f.AID, f.Code, modules)...)
	in.pages += len(f.Code) / pageBytes // the code is written too; what would run it is not in this chip
	return ""
}

func (in *installer) instance(one saip.Instance, number int) string {
	const domainPrivilege, shortPrivileges, longPrivileges = 0x80, 1, 3
	i := slices.IndexFunc(in.loaded, func(f loadFileEntry) bool { return bytes.Equal(f.aid, one.File) })
	switch n := len(one.Privileges); {
	case i < 0 || !slices.ContainsFunc(in.loaded[i].modules, func(m []byte) bool { return bytes.Equal(m, one.Module) }):
		return "an application of a module that the package does not bring"
	case n != shortPrivileges && n != longPrivileges || one.Privileges[0]&domainPrivilege != 0:
		return "an application with privileges that none has"
	case one.LifeCycle < stateInstalled || one.LifeCycle&stateLockedBit != 0:
		return "an application in a state that none begins with"
	case !isAID(one.AID) || in.taken(one.AID):
		return "a name that is in use"
	}
	in.names = append(in.names, one.AID)
	entry := instanceEntry{aid: one.AID, file: one.File, module: one.Module, privileges: one.Privileges, state: one.LifeCycle}
	in.all.put(cellOf(in.d, kindInstance, uint16(number)), entry.bytes()...)
	return ""
}

// taken says whether the card or the package has the name. Another profile's names are nobody's concern: it is not in force at
// the same time.
func (in *installer) taken(aid []byte) bool {
	same := func(name []byte) bool { return bytes.Equal(name, aid) }
	return in.c.named(aid) || slices.ContainsFunc(in.names, same) ||
		slices.ContainsFunc(in.loaded, func(f loadFileEntry) bool { return same(f.aid) }) ||
		slices.ContainsFunc(in.chip.Domains, func(sd saip.SecurityDomain) bool { return same(sd.AID) }) ||
		slices.ContainsFunc(in.chip.Applications(), func(f *saip.File) bool { return same(f.AID) })
}
