package saip

import "sync"

// The files of USIM and ISIM (3GPP TS 31.102 clause 4.2 and 4.4, TS 31.103 clause 4.2), as SAIP's templates have them.

var usimFiles = sync.OnceValue(func() []fileTemplate {
	return []fileTemplate{
		{"adf-usim", 0, ADF, 0, 0, 14, 0, ""},
		{"ef-imsi", 0x6F07, Transparent, 0, 9, 2, 0x07, ""},
		{"ef-arr", 0x6F06, LinearFixed, 0, 0, 10, 0x17, ""},
		{"ef-keys", 0x6F08, Transparent, 0, 33, 5, 0x08, "07FF"},
		{"ef-keysPS", 0x6F09, Transparent, 0, 33, 5, 0x09, "07FF"},
		{"ef-hpplmn", 0x6F31, Transparent, 0, 1, 2, 0x12, "0A"},
		{"ef-ust", 0x6F38, Transparent, 0, 17, 2, 0x04, ""},
		{"ef-fdn", 0x6F3B, LinearFixed, 20, 26, 8, 0, "FF"},
		{"ef-sms", 0x6F3C, LinearFixed, 10, 176, 5, 0, "00FF"},
		{"ef-smsp", 0x6F42, LinearFixed, 1, 38, 5, 0, "FF"},
		{"ef-smss", 0x6F43, Transparent, 0, 2, 5, 0, "FF"},
		{"ef-spn", 0x6F46, Transparent, 0, 17, 10, 0, ""},
		{"ef-est", 0x6F56, Transparent, 0, 1, 8, 0x05, ""},
		{"ef-start-hfn", 0x6F5B, Transparent, 0, 6, 5, 0x0F, "F00000F00000"},
		{"ef-threshold", 0x6F5C, Transparent, 0, 3, 2, 0x10, "FF"},
		{"ef-psloci", 0x6F73, Transparent, 0, 14, 5, 0x0C, "FF*0000FF01"},
		{"ef-acc", 0x6F78, Transparent, 0, 2, 2, 0x06, ""},
		{"ef-fplmn", 0x6F7B, Transparent, 0, 12, 5, 0x0D, "FF"},
		{"ef-loci", 0x6F7E, Transparent, 0, 11, 5, 0x0B, "FF*0000FF01"},
		{"ef-ad", 0x6FAD, Transparent, 0, 4, 10, 0x03, "00000002"},
		{"ef-ecc", 0x6FB7, LinearFixed, 1, 4, 10, 0x01, ""},
		{"ef-netpar", 0x6FC4, Transparent, 0, 128, 5, 0, "FF"},
		{"ef-epsloci", 0x6FE3, Transparent, 0, 18, 5, 0x1E, "FF*000001"},
		{"ef-epsnsc", 0x6FE4, LinearFixed, 1, 80, 5, 0x18, "FF"},
	}
})

var optUSIMFiles = sync.OnceValue(func() []fileTemplate {
	return []fileTemplate{
		{"ef-li", 0x6F05, Transparent, 0, 6, 1, 0x02, "FF"},
		{"ef-acmax", 0x6F37, Transparent, 0, 3, 5, 0, "00"},
		{"ef-acm", 0x6F39, Cyclic, 1, 3, 7, 0, "00"},
		{"ef-gid1", 0x6F3E, Transparent, 0, 8, 2, 0, ""},
		{"ef-gid2", 0x6F3F, Transparent, 0, 8, 2, 0, ""},
		{"ef-msisdn", 0x6F40, LinearFixed, 1, 24, 2, 0, "FF"},
		{"ef-puct", 0x6F41, Transparent, 0, 5, 5, 0, "FFFFFF0000"},
		{"ef-cbmi", 0x6F45, Transparent, 0, 10, 5, 0, "FF"},
		{"ef-cbmid", 0x6F48, Transparent, 0, 10, 2, 0x0E, "FF"},
		{"ef-sdn", 0x6F49, LinearFixed, 10, 24, 2, 0, "FF"},
		{"ef-ext2", 0x6F4B, LinearFixed, 10, 13, 8, 0, "00FF"},
		{"ef-ext3", 0x6F4C, LinearFixed, 10, 13, 2, 0, "00FF"},
		{"ef-cbmir", 0x6F50, Transparent, 0, 20, 5, 0, "FF"},
		{"ef-plmnwact", 0x6F60, Transparent, 0, 40, 5, 0x0A, "(FFFFFF0000)"},
		{"ef-oplmnwact", 0x6F61, Transparent, 0, 40, 2, 0x11, "(FFFFFF0000)"},
		{"ef-hplmnwact", 0x6F62, Transparent, 0, 5, 2, 0x13, "(FFFFFF0000)"},
		{"ef-dck", 0x6F2C, Transparent, 0, 16, 5, 0, "FF"},
		{"ef-cnl", 0x6F32, Transparent, 0, 30, 2, 0, "FF"},
		{"ef-smsr", 0x6F47, LinearFixed, 10, 30, 5, 0, "00FF"},
		{"ef-bdn", 0x6F4D, LinearFixed, 10, 25, 8, 0, "FF"},
		{"ef-ext5", 0x6F4E, LinearFixed, 10, 13, 5, 0, "00FF"},
		{"ef-ccp2", 0x6F4F, LinearFixed, 5, 15, 5, 0x16, "FF"},
		{"ef-ext4", 0x6F55, LinearFixed, 10, 13, 8, 0, "00FF"},
		{"ef-acl", 0x6F57, Transparent, 0, 101, 8, 0, "00FF"},
		{"ef-cmi", 0x6F58, LinearFixed, 10, 11, 2, 0, "FF"},
		{"ef-ici", 0x6F80, Cyclic, 20, 38, 5, 0x14, "FF*0000000001FFFF"},
		{"ef-oci", 0x6F81, Cyclic, 20, 37, 5, 0x15, "FF*00000001FFFF"},
		{"ef-ict", 0x6F82, Cyclic, 1, 3, 7, 0, "00"},
		{"ef-oct", 0x6F83, Cyclic, 1, 3, 7, 0, "00"},
		{"ef-vgcs", 0x6FB1, Transparent, 0, 20, 2, 0, ""},
		{"ef-vgcss", 0x6FB2, Transparent, 0, 7, 5, 0, ""},
		{"ef-vbs", 0x6FB3, Transparent, 0, 20, 2, 0, ""},
		{"ef-vbss", 0x6FB4, Transparent, 0, 7, 5, 0, ""},
		{"ef-emlpp", 0x6FB5, Transparent, 0, 2, 2, 0, ""},
		{"ef-aaem", 0x6FB6, Transparent, 0, 1, 5, 0, "00"},
		{"ef-hiddenkey", 0x6FC3, Transparent, 0, 4, 5, 0, "FF"},
		{"ef-pnn", 0x6FC5, LinearFixed, 10, 16, 10, 0x19, ""},
		{"ef-opl", 0x6FC6, LinearFixed, 5, 8, 10, 0x1A, ""},
		{"ef-mbdn", 0x6FC7, LinearFixed, 3, 24, 5, 0, ""},
		{"ef-ext6", 0x6FC8, LinearFixed, 10, 13, 5, 0, "00FF"},
		{"ef-mbi", 0x6FC9, LinearFixed, 10, 5, 5, 0, ""},
		{"ef-mwis", 0x6FCA, LinearFixed, 10, 6, 5, 0, "00"},
		{"ef-cfis", 0x6FCB, LinearFixed, 10, 16, 5, 0, "0100FF"},
		{"ef-ext7", 0x6FCC, LinearFixed, 10, 13, 5, 0, "00FF"},
		{"ef-spdi", 0x6FCD, Transparent, 0, 17, 2, 0x1B, ""},
		{"ef-mmsn", 0x6FCE, LinearFixed, 10, 6, 5, 0, "000000FF"},
		{"ef-ext8", 0x6FCF, LinearFixed, 10, 13, 5, 0, "00FF"},
		{"ef-mmsicp", 0x6FD0, Transparent, 0, 100, 2, 0, "FF"},
		{"ef-mmsup", 0x6FD1, LinearFixed, 0, 0, 5, 0, "FF"},
		{"ef-mmsucp", 0x6FD2, Transparent, 0, 100, 5, 0, "FF"},
		{"ef-nia", 0x6FD3, LinearFixed, 5, 11, 2, 0, "FF"},
		{"ef-vgcsca", 0x6FD4, Transparent, 0, 0, 2, 0, "00"},
		{"ef-vbsca", 0x6FD5, Transparent, 0, 0, 2, 0, "00"},
		{"ef-gbabp", 0x6FD6, Transparent, 0, 0, 5, 0, "FF"},
		{"ef-msk", 0x6FD7, LinearFixed, 0, 0, 2, 0, "FF"},
		{"ef-muk", 0x6FD8, LinearFixed, 0, 0, 2, 0, "FF"},
		{"ef-ehplmn", 0x6FD9, Transparent, 0, 15, 2, 0x1D, "FF"},
		{"ef-gbanl", 0x6FDA, LinearFixed, 0, 0, 2, 0, "FF"},
		{"ef-ehplmnpi", 0x6FDB, Transparent, 0, 1, 2, 0, "00"},
		{"ef-lrplmnsi", 0x6FDC, Transparent, 0, 1, 2, 0, "00"},
		{"ef-nafkca", 0x6FDD, LinearFixed, 0, 0, 2, 0, "FF"},
		{"ef-spni", 0x6FDE, Transparent, 0, 0, 10, 0, "00FF"},
		{"ef-pnni", 0x6FDF, LinearFixed, 0, 0, 10, 0, "00FF"},
		{"ef-ncp-ip", 0x6FE2, LinearFixed, 0, 0, 2, 0, ""},
		{"ef-ufc", 0x6FE6, Transparent, 0, 30, 10, 0, "801E60C01E900080040000000000000000F0000000004000000000000080"},
		{"ef-uicciari", 0x6FE7, LinearFixed, 0, 0, 2, 0, ""},
		{"ef-nasconfig", 0x6FE8, Transparent, 0, 18, 2, 0, ""},
		{"ef-pws", 0x6FEC, Transparent, 0, 0, 10, 0, ""},
		{"ef-fdnuri", 0x6FED, LinearFixed, 0, 0, 8, 0, "FF"},
		{"ef-bdnuri", 0x6FEE, LinearFixed, 0, 0, 8, 0, "FF"},
		{"ef-sdnuri", 0x6FEF, LinearFixed, 0, 0, 2, 0, "FF"},
		{"ef-ial", 0x6FF0, LinearFixed, 0, 0, 3, 0, "FF"},
		{"ef-ips", 0x6FF1, Cyclic, 0, 4, 10, 0, "FF"},
		{"ef-ipd", 0x6FF2, LinearFixed, 0, 0, 3, 0, "FF"},
		{"ef-epdgid", 0x6FF3, Transparent, 0, 0, 2, 0, ""},
		{"ef-epdgselection", 0x6FF4, Transparent, 0, 0, 2, 0, ""},
		{"ef-epdgidem", 0x6FF5, Transparent, 0, 0, 2, 0, ""},
		{"ef-epdgselectionem", 0x6FF6, Transparent, 0, 0, 2, 0, ""},
		{"ef-frompreferred", 0x6FF7, Transparent, 0, 1, 2, 0, "00"},
		{"ef-imsconfigdata", 0x6FF8, BERTLV, 0, 0, 2, 0, ""},
		{"ef-3gpppsdataoff", 0x6FF9, Transparent, 0, 4, 2, 0, ""},
		{"ef-3gpppsdataoffservicelist", 0x6FFA, LinearFixed, 0, 0, 2, 0, ""},
		{"ef-xcapconfigdata", 0x6FFC, BERTLV, 0, 0, 2, 0, ""},
		{"ef-earfcnlist", 0x6FFD, Transparent, 0, 0, 10, 0, ""},
		{"ef-mudmidconfigdata", 0x6FFE, BERTLV, 0, 0, 2, 0, ""},
	}
})

var gsmAccessFiles = sync.OnceValue(func() []fileTemplate {
	return []fileTemplate{
		{"df-gsm-access", 0x5F3B, DF, 0, 0, 14, 0, ""},
		{"ef-kc", 0x4F20, Transparent, 0, 9, 5, 0x01, "FF*07"},
		{"ef-kcgprs", 0x4F52, Transparent, 0, 9, 5, 0x02, "FF*07"},
		{"ef-cpbcch", 0x4F63, Transparent, 0, 10, 5, 0, "FF"},
		{"ef-invscan", 0x4F64, Transparent, 0, 1, 2, 0, "00"},
	}
})

var fiveGSTemplate = sync.OnceValue(func() []fileTemplate {
	return []fileTemplate{
		{"df-df-5gs", 0x5FC0, DF, 0, 0, 14, 0, ""},
		{"ef-5gs3gpploci", 0x4F01, Transparent, 0, 20, 5, 0x01, "FF*00000001"},
		{"ef-5gsn3gpploci", 0x4F02, Transparent, 0, 20, 5, 0x02, "FF*00000001"},
		{"ef-5gs3gppnsc", 0x4F03, LinearFixed, 1, 57, 5, 0x03, "FF"},
		{"ef-5gsn3gppnsc", 0x4F04, LinearFixed, 1, 57, 5, 0x04, "FF"},
		{"ef-5gauthkeys", 0x4F05, Transparent, 0, 110, 5, 0x05, ""},
		{"ef-uac-aic", 0x4F06, Transparent, 0, 4, 2, 0x06, ""},
		{"ef-suci-calc-info", 0x4F07, Transparent, 0, 0, 2, 0x07, "FF"},
		{"ef-opl5g", 0x4F08, LinearFixed, 0, 10, 10, 0x08, "FF"},
		{"ef-supinai", 0x4F09, Transparent, 0, 0, 2, 0x09, ""},
		{"ef-routing-indicator", 0x4F0A, Transparent, 0, 4, 2, 0x0A, "F0FF"},
		{"ef-ursp", 0x4F0B, BERTLV, 0, 0, 2, 0, "FF"},
		{"ef-tn3gppsnn", 0x4F0C, Transparent, 0, 1, 2, 0x0C, "00"},
	}
})

var saipFiles = sync.OnceValue(func() []fileTemplate {
	return []fileTemplate{
		{"df-df-saip", 0x5FD0, DF, 0, 0, 14, 0, ""},
		{"ef-suci-calc-info-usim", 0x4F01, Transparent, 0, 0, 3, 0, "FF"},
	}
})

var isimFiles = sync.OnceValue(func() []fileTemplate {
	return []fileTemplate{
		{"adf-isim", 0, ADF, 0, 0, 14, 0, ""},
		{"ef-impi", 0x6F02, Transparent, 0, 0, 2, 0x02, ""},
		{"ef-impu", 0x6F04, LinearFixed, 1, 0, 2, 0x04, ""},
		{"ef-domain", 0x6F03, Transparent, 0, 0, 2, 0x05, ""},
		{"ef-ist", 0x6F07, Transparent, 0, 14, 2, 0x07, ""},
		{"ef-ad", 0x6FAD, Transparent, 0, 3, 10, 0x03, "00"},
		{"ef-arr", 0x6F06, LinearFixed, 0, 0, 10, 0x06, ""},
	}
})

var optISIMFiles = sync.OnceValue(func() []fileTemplate {
	return []fileTemplate{
		{"ef-pcscf", 0x6F09, LinearFixed, 1, 0, 2, 0, ""},
		{"ef-sms", 0x6F3C, LinearFixed, 10, 176, 5, 0, "00FF"},
		{"ef-smsp", 0x6F42, LinearFixed, 1, 38, 5, 0, "FF"},
		{"ef-smss", 0x6F43, Transparent, 0, 2, 5, 0, "FF"},
		{"ef-smsr", 0x6F47, LinearFixed, 10, 30, 5, 0, "00FF"},
		{"ef-gbabp", 0x6FD5, Transparent, 0, 0, 5, 0, "FF"},
		{"ef-gbanl", 0x6FD7, LinearFixed, 0, 0, 2, 0, "FF"},
		{"ef-nafkca", 0x6FDD, LinearFixed, 0, 0, 2, 0, "FF"},
		{"ef-uicciari", 0x6FE7, LinearFixed, 0, 0, 2, 0, ""},
		{"ef-frompreferred", 0x6FF7, Transparent, 0, 1, 2, 0, "00"},
		{"ef-imsconfigdata", 0x6FF8, BERTLV, 0, 0, 2, 0, ""},
		{"ef-webrtcuri", 0x6FFA, LinearFixed, 0, 0, 2, 0, ""},
		{"ef-xcapconfigdata", 0x6FFC, BERTLV, 0, 0, 2, 0, ""},
		{"ef-mudmidconfigdata", 0x6FFE, BERTLV, 0, 0, 2, 0, ""},
	}
})
