// Package e2e judges the finished program from outside: it makes one small lot with the built binary and lets programs that
// others wrote say whether what came out is right.
//
// xmllint, openssl and the JDK read the EIS batch, osmo-auc-gen authenticates against the chips with the keys of the output
// file, and the chips themselves are asked by APDU who they are. Where no outside judge exists, the test reads what lies
// on disk: the chips' own memory, for what must be nowhere else, and the audit bundle, bit by bit.
//
// It holds tests only. A judge that is not installed is skipped, unless PERSO_TEST_REQUIRE names it.
package e2e
