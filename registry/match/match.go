// Package match says which donors fit a patient, how well, how likely, and why.
//
// It guarantees that a comparison counts the same in whatever order the copies of a locus were written, that the counts are the same
// whichever person is called the patient, that what a typing leaves open is never called certain, and that an order of donors is the same
// for the same donors in any order.
//
// The unit of comparison is the P group (WMDA framework, AI3; hla.Release.Unit); without a release of the nomenclature it is the allele at two fields.
// docs/matching.md tells a physician all of it.
package match
