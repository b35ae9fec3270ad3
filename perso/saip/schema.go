package saip

import (
	"strings"
	"sync"
)

// Tables of SAIP's profile elements. Names and order are those of its ASN.1 (PE definitions 3.3.1, which read packages of
// 2.1 to 3.3 alike); bounds in bytes or values. A tag that is written out is one that the specification fixes; the others
// come from auto.

// Element kinds with a meaning here. Kind is the name of the element in SAIP.
const (
	PEHeader         = "header"
	PEGFM            = "genericFileManagement"
	PEPINCodes       = "pinCodes"
	PEPUKCodes       = "pukCodes"
	PEAKA            = "akaParameter"
	PECDMA           = "cdmaParameter"
	PESecurityDomain = "securityDomain"
	PERFM            = "rfm"
	PEApplication    = "application"
	PENonStandard    = "nonStandard"
	PEEnd            = "end"
	PEMF             = "mf"
	PECD             = "cd"
	PETelecom        = "telecom"
	PEUSIM           = "usim"
	PEOptUSIM        = "opt-usim"
	PEISIM           = "isim"
	PEOptISIM        = "opt-isim"
	PEPhonebook      = "phonebook"
	PEGSMAccess      = "gsm-access"
	PECSIM           = "csim"
	PEOptCSIM        = "opt-csim"
	PEEAP            = "eap"
	PE5GS            = "df-5gs"
	PESAIP           = "df-saip"
	PESNPN           = "df-snpn"
	PEProSe          = "df-5gprose"
	PEIoT            = "iot"
	PEOptIoT         = "opt-iot"
)

var (
	uint8Spec  = integer(0, 0xFF)
	uint15Spec = integer(0, 0x7FFF)
	uint16Spec = integer(0, 0xFFFF)
	aidSpec    = octets(5, 16)
	anyOctets  = octets(0, maxFileBytes)
	bigOctets  = octets(0, MaxPackageBytes) // load blocks
)

// peHeaderSpec begins every element but the header.
var peHeaderSpec = sequence(auto(may("mandated", 0, null), need("identification", 0, uint15Spec))...)

// services are the flags of a header's list of mandatory services, in the order of their tags.
var services = strings.Fields(`contactless usim isim csim milenage tuak128 cave gba-usim gba-isim mbms eap javacard multos multiple-usim
	multiple-isim multiple-csim tuak256 usim-test-algorithm ber-tlv dfLink cat-tp get-identity profile-a-x25519 profile-b-p256
	suciCalculatorApi dns-resolution scp11ac scp11c-authorization-mechanism s16mode eaka`)

func servicesSpec() *spec {
	fields := make([]field, len(services))
	for i, name := range services {
		fields[i] = may(name, 0, null)
	}
	return sequence(auto(fields...)...)
}

func headerSpec() *spec {
	return sequence(auto(
		need("major-version", 0, uint8Spec), need("minor-version", 0, uint8Spec), may("profileType", 0, text(1, 100)),
		need("iccid", 0, octets(10, 10)), may("pol", 0, anyOctets), need("eUICC-Mandatory-services", 0, servicesSpec()),
		need("eUICC-Mandatory-GFSTEList", 0, listOf(0, maxList, oid)), may("connectivityParameters", 0, anyOctets),
		may("eUICC-Mandatory-AIDs", 0, listOf(0, maxList, sequence(auto(need("aid", 0, aidSpec), need("version", 0, octets(2, 2)))...))),
		may("iotOptions", 0, sequence(auto(need("pix", 0, octets(7, 11)))...)),
	)...)
}

var fcpSpec = sequence(
	may("fileDescriptor", 0x82, octets(2, 4)), may("fileID", 0x83, octets(2, 2)), may("dfName", 0x84, aidSpec),
	byDefault("lcsi", 0x8A, octets(1, 1), 0x05), may("securityAttributesReferenced", 0x8B, octets(1, 3)), may("efFileSize", 0x80, octets(1, 4)),
	may("pinStatusTemplateDO", 0xC6, octets(0, 64)), may("shortEFID", 0x88, octets(0, 1)),
	may("proprietaryEFInfo", 0xA5, sequence(
		byDefault("specialFileInformation", 0xC0, octets(1, 1), 0x00), may("fillPattern", 0xC1, octets(1, 200)), may("repeatPattern", 0xC2, octets(1, 200)),
		may("maximumFileSize", 0x86, octets(1, 4)), byDefault("fileDetails", 0x84, octets(1, 1), 0x01))),
	may("linkPath", 0xC7, octets(0, 8)),
)

// fileSpec is a file of a template.
var fileSpec = listOf(0, maxList, choice(auto(
	need("doNotCreate", 0, null), need("fileDescriptor", 0, fcpSpec), need("fillFileOffset", 0, uint16Spec), need("fillFileContent", 0, octets(0, maxFileBytes)))...))

func gfmSpec() *spec {
	return sequence(auto(
		need("gfm-header", 0, peHeaderSpec),
		need("fileManagementCMD", 0, listOf(1, maxList, listOf(1, maxList, choice(
			need("filePath", 0x80, octets(0, 8)), need("createFCP", 0x62, fcpSpec), need("fillFileOffset", 0x02, uint16Spec),
			need("fillFileContent", 0x81, octets(0, maxFileBytes)))))),
	)...)
}

// Values of an AKA parameter that is left out.
var (
	defaultRotation = []byte{0x40, 0x00, 0x20, 0x40, 0x60}
	defaultXoring   = milenageConstants()
	defaultSQNDelta = []byte{0x00, 0x00, 0x10, 0x00, 0x00, 0x00}
)

// milenageConstants are c1 to c5 of TS 35.206: 0, 1, 2, 4, 8.
func milenageConstants() []byte {
	const constants, bytesEach = 5, 16
	c := make([]byte, constants*bytesEach)
	for i := 1; i < constants; i++ {
		c[(i+1)*bytesEach-1] = 1 << (i - 1)
	}
	return c
}

func akaSpec() *spec {
	algorithm := sequence(auto(
		need("algorithmID", 0, integer(1, 3)), need("algorithmOptions", 0, octets(1, 1)), need("key", 0, octets(0, 64)), need("opc", 0, octets(0, 64)),
		byDefault("rotationConstants", 0, octets(5, 5), defaultRotation...), byDefault("xoringConstants", 0, octets(80, 80), defaultXoring...),
		may("authCounterMax", 0, octets(3, 3)), byDefault("numberOfKeccak", 0, uint8Spec, 1))...)
	return sequence(auto(
		need("aka-header", 0, peHeaderSpec),
		need("algoConfiguration", 0, choice(auto(
			need("mappingParameter", 0, sequence(auto(need("mappingOptions", 0, octets(1, 1)), need("mappingSource", 0, aidSpec))...)),
			need("algoParameter", 0, algorithm))...)),
		byDefault("sqnOptions", 0, octets(1, 1), 0x02), byDefault("sqnDelta", 0, octets(6, 6), defaultSQNDelta...),
		byDefault("sqnAgeLimit", 0, octets(6, 6), defaultSQNDelta...), may("sqnInit", 0, listOf(32, 32, octets(6, 6))),
	)...)
}

func cdmaSpec() *spec {
	return sequence(auto(
		need("cdma-header", 0, peHeaderSpec), need("authenticationKey", 0, octets(8, 8)), may("ssd", 0, octets(16, 16)),
		may("hrpdAccessAuthenticationData", 0, octets(2, 32)), may("simpleIPAuthenticationData", 0, octets(3, 483)),
		may("mobileIPAuthenticationData", 0, octets(5, 957)))...)
}

func pinSpec() *spec {
	pin := sequence(auto(
		need("keyReference", 0, uint8Spec), need("pinValue", 0, octets(8, 8)), may("unblockingPINReference", 0, uint8Spec),
		byDefault("pinAttributes", 0, uint8Spec, 7), byDefault("maxNumOfAttemps-retryNumLeft", 0, uint8Spec, 0x33))...)
	return sequence(auto(need("pin-Header", 0, peHeaderSpec),
		need("pinCodes", 0, choice(auto(need("pinconfig", 0, listOf(1, 26, pin)), need("filePath", 0, octets(0, 8)))...)))...)
}

func pukSpec() *spec {
	puk := sequence(auto(need("keyReference", 0, uint8Spec), need("pukValue", 0, octets(8, 8)),
		byDefault("maxNumOfAttemps-retryNumLeft", 0, uint8Spec, 0x00, 0xAA))...)
	return sequence(auto(need("puk-Header", 0, peHeaderSpec), need("pukCodes", 0, listOf(1, 16, puk)))...)
}

// instanceSpec is an application as GlobalPlatform's INSTALL makes it.
func instanceSpec() *spec {
	quota := octets(2, 4)
	system := sequence(
		may("volatileMemoryQuotaC7", 0xC7, quota), may("nonVolatileMemoryQuotaC8", 0xC8, quota), may("globalServiceParameters", 0xCB, anyOctets),
		may("implicitSelectionParameter", 0xCF, anyOctets), may("volatileReservedMemory", 0xD7, quota), may("nonVolatileReservedMemory", 0xD8, quota),
		may("ts102226SIMFileAccessToolkitParameter", 0xCA, anyOctets),
		may("ts102226AdditionalContactlessParameters", 0xA0, sequence(auto(need("protocolParameterData", 0, anyOctets))...)),
		may("contactlessProtocolParameters", 0xD9, anyOctets), may("userInteractionContactlessParameters", 0xDA, anyOctets),
		may("cumulativeGrantedVolatileMemory", 0x82, quota), may("cumulativeGrantedNonVolatileMemory", 0x83, quota))
	return sequence(
		need("applicationLoadPackageAID", 0x4F, aidSpec), need("classAID", 0x4F, aidSpec), need("instanceAID", 0x4F, aidSpec),
		may("extraditeSecurityDomainAID", 0x4F, aidSpec), need("applicationPrivileges", 0x82, anyOctets),
		byDefault("lifeCycleState", 0x83, octets(1, 1), 0x07), need("applicationSpecificParametersC9", 0xC9, anyOctets),
		may("systemSpecificParameters", 0xEF, system),
		may("applicationParameters", 0xEA, sequence(
			may("uiccToolkitApplicationSpecificParametersField", 0x80, anyOctets), may("uiccAccessApplicationSpecificParametersField", 0x81, anyOctets),
			may("uiccAdministrativeAccessApplicationSpecificParametersField", 0x82, anyOctets))),
		may("processData", 0x30, listOf(1, maxList, anyOctets)),
		may("controlReferenceTemplate", 0xB0, sequence(need("applicationProviderIdentifier", 0x5F20, anyOctets))),
	)
}

func sdSpec() *spec {
	key := sequence(
		need("keyUsageQualifier", 0x95, octets(1, 2)), byDefault("keyAccess", 0x96, octets(1, 1), 0x00), need("keyIdentifier", 0x82, octets(1, 1)),
		need("keyVersionNumber", 0x83, octets(1, 1)), may("keyCounterValue", 0x85, octets(0, 16)),
		need("keyComponents", 0x30, listOf(1, 16, sequence(
			need("keyType", 0x80, octets(1, 4)), need("keyData", 0x86, anyOctets), byDefault("macLength", 0x87, uint8Spec, 8)))))
	open := sequence(may("restrictParameter", 0xD9, octets(1, 1)), may("contactlessProtocolParameters", 0x04, anyOctets))
	return sequence(auto(
		need("sd-Header", 0, peHeaderSpec), need("instance", 0, instanceSpec()), may("keyList", 0, listOf(1, maxList, key)),
		may("sdPersoData", 0, listOf(1, maxList, anyOctets)), may("openPersoData", 0, open),
		may("catTpParameters", 0, sequence(auto(need("catTpMaxSduSize", 0, uint16Spec), need("catTpMaxPduSize", 0, uint16Spec))...)))...)
}

func applicationSpec() *spec {
	load := sequence(
		need("loadPackageAID", 0x4F, aidSpec), may("securityDomainAID", 0x4F, aidSpec), may("nonVolatileCodeLimitC6", 0xC6, anyOctets),
		may("volatileDataLimitC7", 0xC7, anyOctets), may("nonVolatileDataLimitC8", 0xC8, anyOctets), may("hashValue", 0xC1, anyOctets),
		need("loadBlockObject", 0xC4, bigOctets))
	return sequence(auto(need("app-Header", 0, peHeaderSpec), may("loadBlock", 0, load), may("instanceList", 0, listOf(1, maxList, instanceSpec())))...)
}

func rfmSpec() *spec {
	adf := sequence(auto(need("adfAID", 0, aidSpec), need("adfAccessDomain", 0, anyOctets), need("adfAdminAccessDomain", 0, anyOctets))...)
	return sequence(
		need("rfm-header", 0xA0, peHeaderSpec), need("instanceAID", 0x4F, aidSpec), may("securityDomainAID", 0x4F, aidSpec),
		may("tarList", 0xA0, listOf(1, maxList, octets(3, 3))), need("minimumSecurityLevel", 0x81, octets(1, 1)),
		need("uiccAccessDomain", 0x04, anyOctets), need("uiccAdminAccessDomain", 0x04, anyOctets), may("adfRFMAccess", 0x30, adf))
}

// elementsSpec is the choice of all profile elements. Between end (10) and mf (16) SAIP keeps tags for its future.
var elementsSpec = sync.OnceValue(func() *spec {
	kinds := []field{
		need(PEHeader, 0, headerSpec()), need(PEGFM, 0, gfmSpec()), need(PEPINCodes, 0, pinSpec()), need(PEPUKCodes, 0, pukSpec()),
		need(PEAKA, 0, akaSpec()), need(PECDMA, 0, cdmaSpec()), need(PESecurityDomain, 0, sdSpec()), need(PERFM, 0, rfmSpec()),
		need(PEApplication, 0, applicationSpec()),
		need(PENonStandard, 0, sequence(auto(need("nonStandard-header", 0, peHeaderSpec), need("issuerID", 0, oid), need("content", 0, bigOctets))...)),
		need(PEEnd, 0, sequence(auto(need("end-header", 0, peHeaderSpec))...)),
	}
	const firstTemplate = 16
	kinds = auto(kinds...)
	for i, list := range templateElements {
		kinds = append(kinds, need(list.name, contextTag(firstTemplate+i, true), list.spec()))
	}
	return choice(kinds...)
})
