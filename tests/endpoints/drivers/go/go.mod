// Nothing is required, so nothing is downloaded.
module endpoint

go 1.27
