// Errors that the page raises on purpose, one line each, in the words of `embedded-vit predict`.

/** A file is unreadable, truncated, damaged or of another kind than expected. */
export class FileFormatError extends Error {
  override name = "FileFormatError";
}

/** Refused: the scan is outside the contract of the model; a user may overrule it where `overrulable` is true. */
export class ContractError extends Error {
  override name = "ContractError";

  constructor(
    message: string,
    readonly overrulable: boolean,
  ) {
    super(message);
  }
}

/** The user cancelled. */
export class Cancelled extends Error {
  override name = "Cancelled";
}
