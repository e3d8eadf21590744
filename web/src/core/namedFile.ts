// A file that a user drops, with its path in the folder that it came in.

export interface NamedFile {
  file: Blob;
  name: string;
}
