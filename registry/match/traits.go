package match

// Traits is what helps to choose between donors who fit.
type Traits struct {
	BirthYear   uint16 // 0 when unknown
	LastContact uint16 // days since 1970, 0 when there was none
	Sex         uint8
	ABO         uint8
	Rh          uint8
	CMV         uint8
	WeightKG    uint8 // 0 when unknown
	Province    uint8 // GB/T 2260
}
