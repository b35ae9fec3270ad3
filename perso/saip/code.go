package saip

import "slices"

// Loaded is what an element "application" brings: code, instances, or both.
type Loaded struct {
	PE        int       // identification of the element
	File      *LoadFile // nil where it brings no code
	Instances []Instance
}

// LoadFile is an executable load file, as GlobalPlatform's LOAD would bring it (Card Specification §11.6).
type LoadFile struct {
	AID  []byte
	Hash []byte // of the code, as INSTALL [for load] has it; empty where none is given
	Code []byte // components of a CAP file, one after another
}

// Instance is an application that is made of a module of a load file (Card Specification §11.5.2.3.2).
type Instance struct {
	File, Module, AID []byte
	Privileges        []byte
	LifeCycle         byte
}

func (e *Element) loaded() Loaded {
	l := Loaded{PE: e.ID}
	if load := e.node.child("loadBlock"); load != nil {
		l.File = &LoadFile{AID: slices.Clone(load.bytes("loadPackageAID")), Hash: slices.Clone(load.bytes("hashValue")), Code: slices.Clone(load.bytes("loadBlockObject"))}
	}
	list := e.node.child("instanceList")
	if list == nil {
		return l
	}
	for _, one := range list.children {
		l.Instances = append(l.Instances, Instance{
			File: slices.Clone(one.bytes("applicationLoadPackageAID")), Module: slices.Clone(one.bytes("classAID")), AID: slices.Clone(one.bytes("instanceAID")),
			Privileges: slices.Clone(one.bytes("applicationPrivileges")), LifeCycle: one.bytes("lifeCycleState")[0],
		})
	}
	return l
}
