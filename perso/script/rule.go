package script

// Rule names what a script must keep. Reports quote it, and LANGUAGE.md explains each.
type Rule string

// Rules that every Script keeps: Compile and Decode refuse one that breaks them.
const (
	RuleSyntax     Rule = "syntax"         // the text can be read
	RuleName       Rule = "name"           // names, labels and versions have their form and are given once
	RuleLimit      Rule = "limit"          // nothing is longer or more than fits
	RulePhase      Rule = "phase-order"    // identify, open, write, verify, close; nothing is written before identify
	RuleReadOnly   Rule = "read-only"      // identify, open and verify change nothing
	RuleVerify     Rule = "no-verify"      // something secure is read back and compared
	RuleChipID     Rule = "chip-id"        // identify reads the chip id, once
	RuleSecret     Rule = "secret-in-open" // a secret goes only to the chip, inside the channel
	RuleChannel    Rule = "channel"        // a channel has a protocol, a level and a key version that exist
	RuleChannelEnd Rule = "channel-ended"  // nothing secure comes after a plain command ended the channel
	RuleClass      Rule = "class"          // inside the channel, commands are written as they are outside
	RuleStatus     Rule = "status"         // each answer has a status that is accepted, and data is compared under one only
	RuleStamp      Rule = "stamp"          // the phase open writes the stamp and nothing else
	RuleRedo       Rule = "redo"           // a section says how it is repeated, and can be
	RuleCondition  Rule = "condition"      // DONE and answers name a probe of an earlier act
	RuleTarget     Rule = "target"         // each section chooses what it writes to
	RulePurpose    Rule = "purpose"        // a purpose is known, and served once, where it proves something
	RuleForm       Rule = "form"           // data and variables are well-formed
	RulePackage    Rule = "package"        // a profile package is opened at the end of an act and loaded at the beginning of the next
	RulePower      Rule = "power"          // the power is cycled where nothing is lost by it
)

// Rules of good sense, which Lint applies: a script that breaks one compiles, and nobody should want it.
const (
	RuleMissingProbe  Rule = "missing-probe"   // a section can be found done
	RuleAnswerDecides Rule = "answer-decides"  // the commands do not depend on what the chip answers
	RulePlainPIN      Rule = "plain-pin"       // no PIN or ADM code is sent outside the channel
	RuleNeverReadBack Rule = "never-read-back" // what is stored is compared afterwards
	RuleUncheckedRead Rule = "unchecked-read"  // what is read in verify is compared
	RuleUnused        Rule = "unused"          // what is named is used
)
